// Stream: the items that a command yields, one after another, while it runs.
//
//   for (const Row& row : pool.stream<Row>("rows", "2026-11-21")) use(row);     // throws CallError where it breaks off
//
// The worker goes on while an item is used, until as many wait here as `stream_items` and `stream_bytes` allow: then it waits
// for its consumer. An error in the middle comes after all the items before it. Destroying a stream before its end cancels
// the command: its generator is closed, with its `finally`.
//
// Coroutines await items by co_next and co_try_next, of lair/async.hpp.
//
// Thread-safety: one thread at a time; `stop_source` gives a handle for any. Move-only.
#pragma once

#include <cstddef>
#include <iterator>
#include <lair/once_function.hpp>
#include <lair/options.hpp>
#include <lair/result.hpp>
#include <lair/stop_link.hpp>
#include <lair/typed_call.hpp>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace lair {

// What an Endpoint gives for one stream. The outcome of each `next`: an item, nothing (the stream is complete), or the error
// that ended it. After either of the last two there is nothing more, and the same is said again.
class StreamSource {
 public:
  using Item = Result<std::optional<Json>>;

  StreamSource() = default;
  StreamSource(const StreamSource&) = delete;
  StreamSource& operator=(const StreamSource&) = delete;
  virtual ~StreamSource() = default;  // cancels what has not ended; never blocks

  // Blocks until there is an item, at the latest until the call's deadline.
  virtual Item next() = 0;
  // Does not block: `done` is called once, where the call's `executor` says, never from within `start_next`; with kCancelled
  // where the source is destroyed meanwhile. One at a time, and not with `next`. `done` may be called, and may destroy the
  // source, before `start_next` has returned.
  virtual void start_next(OnceFunction<void(Item)> done) = 0;
};

namespace detail {
template <class T>
Result<std::optional<T>> item_as(std::string_view command, StreamSource::Item item) {
  if (!item) return std::move(item).error();
  if (!*item) return std::optional<T>();
  if constexpr (std::is_same_v<T, Json>) {
    return item;
  } else {
    try {
      return std::optional<T>(from_dom<T>(**item));
    } catch (const Json::exception& mismatch) {
      return wrong_result_type(command, mismatch.what(), **item);
    }
  }
}
}  // namespace detail

template <class T>
class CoNext;
template <class T>
class CoTryNext;

template <class T = Json>
class Stream {
 public:
  // `link`: gave the token that `source` heeds.
  Stream(std::string command, std::unique_ptr<detail::StopLink> link, std::unique_ptr<StreamSource> source)
      : command_(std::move(command)), link_(std::move(link)), source_(std::move(source)) {}

  // The next item, or nothing at the end. Blocks until there is one. Never throws.
  Result<std::optional<T>> try_next() { return detail::item_as<T>(command_, source_->next()); }
  std::optional<T> next() { return try_next().value(); }

  // The same, awaited. A coroutine that is destroyed while it waits cancels the stream.
  CoTryNext<T> co_try_next();
  CoNext<T> co_next();

  // Cancels the command: what is waited for, and all that would come, is kCancelled.
  void cancel() { link_->source().request_stop(); }

  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;

    explicit iterator(Stream& stream) : stream_(&stream) { ++*this; }
    T& operator*() const { return *stream_->current_; }
    iterator& operator++() {
      stream_->current_ = stream_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return !stream_->current_; }

   private:
    Stream* stream_;
  };
  iterator begin() { return iterator(*this); }
  std::default_sentinel_t end() const { return {}; }

  // For lair/async.hpp and its kin. A stop request to `stop_source` cancels the stream from any thread.
  const std::string& command() const { return command_; }
  StreamSource& source() { return *source_; }
  std::stop_source stop_source() const { return link_->source(); }

 private:
  std::string command_;
  std::unique_ptr<detail::StopLink> link_;
  std::unique_ptr<StreamSource> source_;
  std::optional<T> current_;
};

}  // namespace lair
