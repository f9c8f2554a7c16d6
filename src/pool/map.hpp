// MapRun: one map (lair/map.hpp) on one pool. Lanes, each a thread, take batches of items from what is still to be done, and
// each batch to whichever worker is free: who is quick takes more of them.
//
// A batch is one call to the core, the queue and the breakers, and as many calls as it has items to the books. Its items are
// one stretch of the range, so that what was begun and what was not is told by a number.
//
// Thread-safety: `run` on the caller's thread; the rest on the lanes, which share what is marked so.
#pragma once

#include <lair/map.hpp>

#include <array>
#include <atomic>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "pool/shell.hpp"

namespace lair::pool {

// Items of a map, one after another, on their way to a worker.
struct Batch {
  std::size_t first = 0;
  std::string arguments;          // an array of each item's, encoded
  std::vector<std::size_t> ends;  // where in it each item's end
  bool packed = false;

  // What has become of them: so many have results, so many were begun, or may have been.
  std::size_t done = 0;
  std::size_t begun = 0;
  bool by_calls = false;                 // the worker takes no batch of this: nothing was sent
  std::array<std::uint64_t, 2> ended{};  // with a value, with an error of the command's

  std::size_t count() const { return ends.size(); }
  std::string_view item(std::size_t index) const;
  // The items from `from` on.
  Batch rest(std::size_t from) const;

  // For more items. The arguments are an array from the beginning, and one that can be sent once it is closed.
  void open();
  bool add(const Json& arguments_of_one);  // false: it can't be in a batch, nothing is added
  // The job's next one. False: nothing is added; it is `odd`, as above, or there is none.
  bool add_next(detail::MapJob& job, std::optional<Json>& odd);
  // The last one, encoded; and one that was taken from another batch.
  std::string take_last();
  void add_encoded(std::string_view arguments_of_one);
  void close();
};

class MapRun {
 public:
  MapRun(Shell& shell, const MapOptions& options, std::string_view command, detail::MapJob& job, Bound bound);
  // Blocks. Throws what the job throws.
  void run();

 private:
  // One thread's.
  struct Lane {
    StopBell bell;
    std::unique_ptr<detail::MapValues> values = nullptr;  // null: results go by way of Json
  };
  enum class Way : std::uint8_t { kBatch, kCalls, kRefused };

  void lane() noexcept;
  std::optional<Batch> next_batch();
  std::optional<Batch> read_batch();
  void start_next_lane();

  void serve(Batch& batch, Lane& lane);
  void settle(Batch& batch, const Course& course, Try ended);
  // On a worker. What the batch's worker says of each item is delivered; the attempt's error is that of the item it was at.
  Attempt attempt(Course& course, const Hold& hold, Batch& batch, Lane& lane);
  Attempt broken_off(const wire::CallHeader& sent, Record& record, Batch& batch, worker::Channel::NoReply end,
                     TimePoint since);
  Attempt give_up(const wire::CallHeader& sent, Record& record, Batch& batch, worker::Channel::NoReply end,
                  TimePoint since);
  Way way_of(const wire::Announcement& announced) const;
  // Whether these were the last results, if they are nothing but values and can be read as such. Nothing: nothing was taken.
  std::optional<bool> take_values(Batch& batch, const wire::CallHeader& header, std::string_view payload,
                                  Lane& lane);
  // False: it has told of more items than there are.
  bool take_answers(Batch& batch, wire::Answers answers, const WorkerIdentity& worker);
  void read_journal(const wire::CallHeader& sent, Record& record, Batch& batch);
  void one_done(Batch& batch, Result<Json> result);

  void call_each(const Batch& batch, std::size_t from, std::size_t to, const CallOptions& options);
  void fail(const Batch& batch, std::size_t from, std::size_t to, const Error& error);
  void deliver(std::size_t index, Result<Json> result);
  void tell_progress();
  void book(std::size_t times, Ending ending, Duration each);
  bool stopped() const { return stop_.token().stop_requested(); }

  Shell& shell_;
  const MapOptions& options_;
  const std::string_view command_;
  detail::MapJob& job_;
  const Bound bound_;
  detail::StopLink stop_;
  CallOptions call_;  // of each item: the options', but for the stop
  std::size_t most_lanes_ = 1;
  bool packs_ = false;

  // --- Shared --------------------------------------------------------------------------------------
  std::atomic<bool> by_calls_ = false;
  std::atomic<std::size_t> batch_size_ = 1;
  std::atomic<bool> unwanted_ = false;  // an error has ended the map
  std::atomic<std::size_t> ended_ = 0;  // items

  std::mutex source_mutex_;  // held while the range is read
  std::deque<Batch> left_over_;
  std::string waiting_;      // encoded: it was read, and is too large for the batch before it
  std::optional<Json> odd_;  // it was read, and can't be in a batch
  std::size_t read_ = 0;     // items that were put into batches
  bool exhausted_ = false;

  std::mutex progress_mutex_;
  std::size_t told_ = 0;

  std::mutex lanes_mutex_;
  std::vector<std::thread> lanes_;
  std::exception_ptr thrown_;
};

}  // namespace lair::pool
