// Map: one command for every item of a range, on all workers of a pool at once.
//
//   std::vector<int> counts = pool.map<int>("count_words", texts);              // in the order of `texts`; throws the first error
//   Result<std::vector<int>> r = pool.try_map<int>("count_words", texts);
//   std::vector<Result<int>> all = pool.map_all<int>("count_words", texts);     // each item's own error
//   pool.map<int>({.progress = [](std::size_t done) { show(done); }}, "add", std::vector<std::tuple<int, int>>{{1, 2}, {3, 4}});
//
// An item is one argument; a std::tuple is several, a `kwargs` is keywords. The range is read as its items are needed, by one
// thread at a time, which need not be the caller's; only results are kept, of a type R that has a default constructor.
//
// Each item is a call, and what befalls it befalls no other: an exception, a deadline, the end of its worker. Small items
// travel together, so that a worker has some milliseconds of work in each frame. Blocks the calling thread until the last
// item has ended, and uses further threads meanwhile, one for each further worker.
//
// Errors: those of a call, of the item that is named in the message. `map` and `try_map` give the first one that they meet: they
// then begin no more items, and cancel those that run. Commands that yield are refused (kInvalidArgument): stream them. Workers
// that know no batches (protocol 1, older SDKs, several calls at a time), commands that are `async def`, and Endpoints that are
// neither a Pool nor a Session have a call for each item, with the same results. What the range itself throws is thrown on, once
// the items that run have ended.
//
// docs/patterns.md, docs/adr/0018-batches.md.
#pragma once

#include <functional>
#include <lair/options.hpp>
#include <lair/result.hpp>
#include <lair/typed_call.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace lair {

struct MapOptions {
  // Of each item. `timeout` runs from when a worker begins with it (a command may have up to a millisecond more), and
  // `checkout_timeout` is how long a frame may wait for a worker. Retries (`idempotent`, `retries`) are of single items, as calls. A
  // stop request ends the whole map with kCancelled, within `cancel_grace`. `executor` and the stream's settings mean nothing here.
  CallOptions call = {};
  // How many workers have items at a time, at most; 0: all of the pool's. A session, and a map within a host function, has one.
  std::size_t workers = 0;
  // How many items have ended so far: after every frame, one at a time, on any of the map's threads.
  std::function<void(std::size_t done)> progress = {};
};

namespace detail {

// Values of a map that came in one message, until all of it has been read: one thread's.
class MapValues : public ValuesSink {
 public:
  virtual ~MapValues() = default;
  virtual std::size_t count() const = 0;
  virtual void clear() = 0;
  // As `done` with each of them, the first one being that of item `first`; then they are gone.
  virtual void keep(std::size_t first) = 0;
};

// Where a map's items come from, and where their results go.
class MapJob {
 public:
  virtual ~MapJob() = default;
  // The next item's arguments; nothing at the end. One thread at a time. May throw what the range throws.
  virtual std::optional<Json> next() = 0;
  // The same, but written. False: `item` is what `next` would have given, and whatever was written is not to be used.
  virtual bool write_next(ValueWriter&, std::optional<Json>& item) {
    item = next();
    return false;
  }
  // Once for each item that was taken. False: no more are wanted. Any thread.
  virtual bool done(std::size_t index, Result<Json> reply) = 0;
  // For a thread that receives results; null if they can't be read straight from a message.
  virtual std::unique_ptr<MapValues> values() { return nullptr; }
};

template <class Item>
Json item_arguments(Item&& item) {
  return arguments(std::forward<Item>(item));
}
template <class... Parts>
Json item_arguments(const std::tuple<Parts...>& item) {
  return std::apply([](const auto&... parts) { return arguments(parts...); }, item);
}
template <class... Parts>
Json item_arguments(std::tuple<Parts...>& item) {
  return item_arguments(std::as_const(item));
}
template <class... Parts>
Json item_arguments(std::tuple<Parts...>&& item) {
  return item_arguments(std::as_const(item));
}

// False as well of what holds arrays, which are not among a batch's items.
template <class... Parts>
bool write_parts(ValueWriter& out, const Parts&... parts) {
  if constexpr ((holds_arrays<Parts> || ...)) {
    return false;
  } else {
    view_of(parts...).write_to(out);
    return out.ok();
  }
}
template <class Item>
bool write_item(ValueWriter& out, const Item& item) {
  return write_parts(out, item);
}
template <class... Parts>
bool write_item(ValueWriter& out, const std::tuple<Parts...>& item) {
  return std::apply([&](const auto&... parts) { return write_parts(out, parts...); }, item);
}

Error of_item(std::size_t index, Error error);  // says so
Error map_was_stopped(std::string_view command);

template <class R, class Iterator, class End>
class MapOf final : public MapJob {
  static_assert(!std::is_void_v<R>, "map<Json>, and don't look at the results");

 public:
  MapOf(std::string_view command, bool all, Iterator begin, End end)
      : command_(command), all_(all), at_(std::move(begin)), end_(std::move(end)) {}

  std::optional<Json> next() override {
    if (at_ == end_) {
      read_ = true;
      return std::nullopt;
    }
    std::optional<Json> item(item_arguments(*at_));
    ++at_;
    return item;
  }

  bool write_next(ValueWriter& out, std::optional<Json>& item) override {
    if (at_ == end_) {
      read_ = true;
      item.reset();
      return false;
    }
    const auto& one = *at_;  // once: it may be computed, or be gone then
    const bool written = write_item(out, one);
    if (!written) item = item_arguments(one);
    ++at_;
    return written;
  }

  std::unique_ptr<MapValues> values() override {
    if constexpr (Readable<R>::value) {
      return std::make_unique<Values>(*this);
    } else {
      return nullptr;  // a from_json of the user's is not called while a worker is held
    }
  }

  bool done(std::size_t index, Result<Json> reply) override {
    Result<R> value = result_as<R>(command_, std::move(reply));
    const bool good = value.has_value();
    const std::lock_guard lock(mutex_);
    if (values_.size() <= index) values_.resize(index + 1);
    if (good) {
      values_[index] = *std::move(value);
    } else {
      errors_.emplace(index, std::move(value).error());
    }
    return good || all_;
  }

  Result<std::vector<R>> first_error_or_values() {
    if (!errors_.empty()) return of_item(errors_.begin()->first, std::move(errors_.begin()->second));
    if (!read_) return map_was_stopped(command_);
    return std::move(values_);
  }

  std::vector<Result<R>> each() {
    std::vector<Result<R>> results;
    results.reserve(values_.size());
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const auto error = errors_.find(i);
      if (error != errors_.end()) {
        results.emplace_back(std::move(error->second));
      } else {
        results.emplace_back(R(std::move(values_[i])));
      }
    }
    return results;
  }

 private:
  class Values final : public MapValues {
   public:
    explicit Values(MapOf& of) : of_(of) {}
    bool read_from(ValueReader& in) override {
      R value{};
      if (!lair::detail::read(in, value)) return false;
      read_.push_back(std::move(value));
      return true;
    }
    std::size_t count() const override { return read_.size(); }
    void clear() override { read_.clear(); }
    void keep(std::size_t first) override {
      {
        const std::lock_guard lock(of_.mutex_);
        if (of_.values_.size() < first + read_.size()) of_.values_.resize(first + read_.size());
        for (std::size_t i = 0; i < read_.size(); ++i) of_.values_[first + i] = std::move(read_[i]);
      }
      read_.clear();
    }

   private:
    MapOf& of_;
    std::vector<R> read_;
  };

  const std::string_view command_;
  const bool all_;
  Iterator at_;
  const End end_;
  bool read_ = false;

  std::mutex mutex_;
  std::vector<R> values_;
  std::map<std::size_t, Error> errors_;
};

}  // namespace detail

}  // namespace lair
