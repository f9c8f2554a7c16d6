#include "pool/map.hpp"

#include <algorithm>
#include <system_error>

#include "base/assert.hpp"
#include "wire/json_codec.hpp"
#include "wire/msgpack.hpp"

namespace lair::pool {

namespace {

// How much work a batch has: long beside a round trip, short beside the rest of the map, which other workers share.
constexpr Duration kBatchTime = std::chrono::milliseconds(4);
constexpr std::size_t kMostItems = 8192;
constexpr std::size_t kMostBytes = 256 << 10;
constexpr std::size_t kGrowth = 8;  // from one batch to the next: a first item may be quicker than others

Error cancelled(std::string_view command) {
  return {.kind = ErrorKind::kCancelled,
          .delivery = Delivery::kNotSent,
          .message = quoted(command) + " was cancelled before it was sent"};
}

}  // namespace

void Shell::map(const MapOptions& options, std::string_view command, detail::MapJob& job, Bound bound) {
  MapRun(*this, options, command, job, std::move(bound)).run();
}

Shell::Shape Shell::shape() const {
  const std::lock_guard lock(mutex_);
  return {.size = core_.size(), .packs = packs_};
}

void Shell::book_items(std::string_view command, Ending ending, std::uint64_t times, Duration each) {
  const TimePoint now = SteadyClock::now();
  const std::lock_guard lock(mutex_);
  counters_.admitted += times;
  retry_budget_.call();
  close_books({command, now - each * static_cast<std::int64_t>(times), ending, times}, now);
}

bool Shell::tries_item_again(const Course& course, const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    if (!take_retry()) return false;
  }
  Course first = course;
  first.failures = 1;
  tell_retry(first, Duration::zero(), error);
  return true;
}

// --- Batch -----------------------------------------------------------------------------------------

constexpr std::size_t kPackedHead = 5;

void Batch::open() { arguments = packed ? std::string(kPackedHead, '\0') : "["; }

bool Batch::add(const Json& one) {
  const std::size_t before = arguments.size();
  if (packed) {
    if (!wire::append_packed_value(arguments, one, 2)) {
      arguments.resize(before);
      return false;
    }
  } else {
    auto text = wire::encode_json(one, "arguments");
    if (!text) return false;
    if (!ends.empty()) arguments += ',';
    arguments += *text;
  }
  ends.push_back(arguments.size());
  return true;
}

bool Batch::add_next(detail::MapJob& job, std::optional<Json>& odd) {
  const std::size_t before = arguments.size();
  if (!packed && !ends.empty()) arguments += ',';
  detail::ValueWriter out(arguments, packed, 2);
  if (job.write_next(out, odd)) {
    ends.push_back(arguments.size());
    return true;
  }
  arguments.resize(before);
  if (!odd || !add(*odd)) return false;
  odd.reset();
  return true;
}

std::string Batch::take_last() {
  std::string last(item(count() - 1));
  ends.pop_back();
  arguments.resize(ends.back());
  return last;
}

void Batch::add_encoded(std::string_view one) {
  if (!packed && !ends.empty()) arguments += ',';
  arguments += one;
  ends.push_back(arguments.size());
}

void Batch::close() {
  if (!packed) {
    arguments += ']';
    return;
  }
  arguments[0] = '\xdd';
  for (std::size_t i = 0; i < 4; ++i) arguments[1 + i] = static_cast<char>(count() >> (24 - 8 * i) & 0xff);
}

std::string_view Batch::item(std::size_t index) const {
  const std::size_t head = packed ? kPackedHead : 1;
  const std::size_t begin = index == 0 ? head : ends[index - 1] + (packed ? 0 : 1);
  return std::string_view(arguments).substr(begin, ends[index] - begin);
}

Batch Batch::rest(std::size_t from) const {
  Batch rest{.first = first + from, .arguments = {}, .ends = {}, .packed = packed};
  rest.open();
  for (std::size_t i = from; i < count(); ++i) {
    if (!packed && i > from) rest.arguments += ',';
    rest.arguments += item(i);
    rest.ends.push_back(rest.arguments.size());
  }
  rest.close();
  return rest;
}

// --- Lanes -----------------------------------------------------------------------------------------

MapRun::MapRun(Shell& shell, const MapOptions& options, std::string_view command, detail::MapJob& job,
               Bound bound)
    : shell_(shell),
      options_(options),
      command_(command),
      job_(job),
      bound_(std::move(bound)),
      stop_(options.call.stop),
      call_(options.call) {
  call_.stop = stop_.token();
  const Shell::Shape shape = shell_.shape();
  packs_ = shape.packs;
  // There, the reactor has the channels; and frames of batches have no place for arrays.
  by_calls_ = shell_.options().concurrency > 1 || call_.taken_arrays != nullptr;
  const bool one = bound_.session != nullptr || CallContext::current() != nullptr;
  const std::size_t all = shape.size * shell_.options().concurrency;
  most_lanes_ = one ? 1 : std::min(options.workers == 0 ? all : options.workers, all);
}

void MapRun::run() {
  lane();
  for (std::size_t i = 0;; ++i) {
    std::thread ended;
    {
      const std::lock_guard lock(lanes_mutex_);
      if (i == lanes_.size()) break;
      ended = std::move(lanes_[i]);
    }
    ended.join();
  }
  if (thrown_) std::rethrow_exception(thrown_);
  for (const Batch& batch : left_over_) fail(batch, 0, batch.count(), cancelled(command_));
}

void MapRun::lane() noexcept {
  try {
    Lane own;
    own.values = job_.values();
    const std::stop_callback on_stop(stop_.token(), [&own] { own.bell.ring(); });
    while (auto batch = next_batch()) {
      if (by_calls_) {
        call_each(*batch, 0, batch->count(), call_);
      } else {
        serve(*batch, own);
      }
      tell_progress();
    }
  } catch (...) {
    const std::lock_guard lock(lanes_mutex_);
    if (!thrown_) thrown_ = std::current_exception();
    unwanted_ = true;
    stop_.source().request_stop();
  }
}

// Each lane that has work starts the next one, so that a short map has few.
void MapRun::start_next_lane() {
  const std::lock_guard lock(lanes_mutex_);
  if (lanes_.size() + 1 >= most_lanes_ || stopped()) return;
  try {
    lanes_.emplace_back([this] { lane(); });
  } catch (const std::system_error&) {
    most_lanes_ = 1;  // no more threads are to be had
  }
}

std::optional<Batch> MapRun::next_batch() {
  std::optional<Batch> batch;
  bool more = false;
  {
    const std::lock_guard lock(source_mutex_);
    if (stopped()) return std::nullopt;
    if (!left_over_.empty()) {
      batch = std::move(left_over_.front());
      left_over_.pop_front();
    } else if (!exhausted_) {
      batch = read_batch();
    }
    more = !exhausted_;
  }
  if (batch && more && most_lanes_ > 1) start_next_lane();
  return batch;
}

// Under the source's mutex.
std::optional<Batch> MapRun::read_batch() {
  const std::size_t most_items = by_calls_ ? 1 : batch_size_.load();
  const std::size_t most_bytes = std::min(kMostBytes, shell_.options().max_frame / 2);
  Batch batch{.first = read_, .arguments = {}, .ends = {}, .packed = packs_};
  batch.open();
  while (batch.count() < most_items) {
    if (!waiting_.empty()) {
      batch.add_encoded(std::exchange(waiting_, {}));
    } else if (odd_ || !batch.add_next(job_, odd_)) {
      if (!odd_) {
        exhausted_ = true;
        break;
      }
      if (batch.count() > 0) break;
      // Alone, as a call, it is sent, or refused with the reason.
      const std::size_t index = read_++;
      batch.first = read_;
      const Json item = *std::exchange(odd_, std::nullopt);
      deliver(index, shell_.call(call_, command_, item, bound_));
      continue;
    }
    if (batch.arguments.size() > most_bytes && batch.count() > 1) {
      waiting_ = batch.take_last();
      break;
    }
    ++read_;
  }
  if (batch.count() == 0) return std::nullopt;
  batch.close();
  return batch;
}

// --- One batch -------------------------------------------------------------------------------------

void MapRun::serve(Batch& batch, Lane& lane) {
  Course course;
  if (auto refusal = shell_.set_out(course, call_, command_, Json::array(), bound_))
    return fail(batch, 0, batch.count(), *refusal);
  course.call.bytes().arguments = batch.arguments;
  course.call.packed = batch.packed;
  course.call.batch = true;
  course.wanted.bell = &lane.bell;
  course.wanted.admitted = true;  // its items are put into the books as they end
  course.retries.later = true;

  std::optional<Try> ended;
  TimePoint began;
  while (!ended) {
    const Result<Hold> hold = shell_.take(course.wanted);
    began = SteadyClock::now();
    ended = shell_.took(course, hold);
    if (ended) break;
    ended = shell_.attempted(course, *hold, attempt(course, *hold, batch, lane));
  }
  const Duration took = SteadyClock::now() - began;
  if (batch.done > 0) {
    const Duration each = took / static_cast<std::int64_t>(batch.done);
    book(batch.ended[0], Ending::kOk, each);
    book(batch.ended[1], Ending::kError, each);
    const auto wanted = static_cast<std::size_t>(kBatchTime / std::max(each, Duration(1)));
    batch_size_ = std::clamp(wanted, std::size_t{1}, std::min(kMostItems, kGrowth * batch.count()));
  }
  settle(batch, course, *std::move(ended));
}

// What is left of it, if it was not done.
void MapRun::settle(Batch& batch, const Course& course, Try ended) {
  if (batch.by_calls) {
    by_calls_ = true;
    return call_each(batch, 0, batch.count(), call_);
  }
  if (ended.result) return;
  constexpr Duration kExitPatience = std::chrono::milliseconds(500);
  if (ended.lost != nullptr) {
    Course told = course;
    told.wanted.pass = &told.pass;
    shell_.describe(told, ended, kExitPatience);
  }
  const Error& error = ended.result.error();
  std::size_t failed = batch.begun;
  if (batch.begun == batch.done && batch.done == 0) {
    if (error.kind == ErrorKind::kInvalidArgument && batch.count() > 1) {  // together they are too large
      return call_each(batch, 0, batch.count(), call_);
    }
    failed = batch.count();
  }
  CallOptions again = call_;
  const std::size_t most = course.retries.most;
  const bool mends = most > 0 && core::retry_can_mend(error, course.retries.idempotent);
  if (mends) again.retries = most - 1;
  for (std::size_t i = batch.done; i < failed; ++i) {
    if (mends && shell_.tries_item_again(course, error)) {
      call_each(batch, i, i + 1, again);
    } else {
      book(1, ended.open.value_or(Ending::kError), Duration::zero());
      fail(batch, i, i + 1, error);
    }
  }
  if (failed == batch.count()) return;
  const std::lock_guard lock(source_mutex_);
  left_over_.push_back(batch.rest(failed));
}

void MapRun::call_each(const Batch& batch, std::size_t from, std::size_t to, const CallOptions& options) {
  for (std::size_t i = from; i < to; ++i) {
    if (stopped()) return fail(batch, i, to, cancelled(command_));
    std::string problem;
    const auto value = batch.packed ? wire::decode_msgpack(batch.item(i), problem)
                                    : wire::decode_json(batch.item(i), problem);
    LAIR_ASSERT(value);  // its own work
    deliver(batch.first + i, shell_.call(options, command_, *value, bound_));
  }
}

void MapRun::fail(const Batch& batch, std::size_t from, std::size_t to, const Error& error) {
  for (std::size_t i = from; i < to; ++i) deliver(batch.first + i, error);
}

void MapRun::deliver(std::size_t index, Result<Json> result) {
  // What an error has ended is no error of its own.
  if (unwanted_ && !result && result.error().kind == ErrorKind::kCancelled) return;
  ++ended_;
  if (job_.done(index, std::move(result))) return;
  unwanted_ = true;
  stop_.source().request_stop();
}

void MapRun::tell_progress() {
  if (!options_.progress) return;
  const std::lock_guard lock(progress_mutex_);
  const std::size_t now = ended_;
  if (now == told_) return;
  told_ = now;
  options_.progress(now);
}

void MapRun::book(std::size_t times, Ending ending, Duration each) {
  if (times > 0) shell_.book_items(command_, ending, times, each);
}

}  // namespace lair::pool
