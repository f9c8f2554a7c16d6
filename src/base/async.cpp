#include <lair/async.hpp>

#include <atomic>

#include "base/assert.hpp"

namespace lair::detail {

// Three can meet here: the thread that suspends the coroutine, the one that brings the outcome, perhaps before the first has
// returned from await_suspend, and the one that destroys the coroutine.
//
// The first touches neither the coroutine nor this once the operation has begun. The other two decide by one exchange who was
// first: either the coroutine is resumed, or it is never touched again. The outcome lies here and not in the coroutine's frame,
// for it may be brought when that is gone.
template <class Outcome>
class Suspension {
 public:
  Suspension(std::coroutine_handle<> waiting, std::stop_source stop)
      : waiting_(waiting), stop_(std::move(stop)) {}

  void resume_with(Outcome outcome) {
    outcome_.emplace(std::move(outcome));
    if (move_on_to(kResumed)) waiting_.resume();
  }

  // True if the coroutine has gone before the outcome came.
  void abandon() noexcept {
    if (move_on_to(kAbandoned)) stop_.request_stop();
  }

  Outcome take() {
    LAIR_ASSERT(state_ == kResumed && outcome_, "each is awaited once, and by co_await");
    return *std::exchange(outcome_, std::nullopt);
  }

 private:
  enum State : char { kWaiting, kResumed, kAbandoned };

  bool move_on_to(State next) noexcept {
    State expected = kWaiting;
    return state_.compare_exchange_strong(expected, next, std::memory_order_acq_rel);
  }

  const std::coroutine_handle<> waiting_;
  std::stop_source stop_;
  std::optional<Outcome> outcome_;
  std::atomic<State> state_ = kWaiting;
};

namespace {

// The link to the caller's stop token is the operation's own, so that it goes when the operation ends.
struct Resume {
  std::shared_ptr<Suspension<Result<Json>>> suspension;
  std::unique_ptr<StopLink> link;
  void operator()(Result<Json> reply) {
    link.reset();
    suspension->resume_with(std::move(reply));
  }
};

}  // namespace

CallAwaiter::CallAwaiter(Endpoint& endpoint, CallOptions options, std::string_view command, Json arguments)
    : endpoint_(&endpoint),
      options_(std::move(options)),
      command_(command),
      arguments_(std::move(arguments)) {}

CallAwaiter::CallAwaiter(CallAwaiter&&) noexcept = default;

CallAwaiter::~CallAwaiter() {
  if (suspension_) suspension_->abandon();
}

// Not inline, here and below: clang up to 18 may keep an inlined one's locals in the coroutine's frame, which can be gone.
void CallAwaiter::await_suspend(std::coroutine_handle<> waiting) {
  LAIR_ASSERT(!suspension_, "each is awaited once");
  auto link = std::make_unique<StopLink>(options_.stop);
  suspension_ = std::make_shared<Suspension<Result<Json>>>(waiting, link->source());
  // `start` may still be looking at these when the coroutine has been resumed, and this object destroyed.
  CallOptions options = std::move(options_);
  options_.taken_arrays = options.taken_arrays;
  const std::string command = command_;
  options.stop = link->token();
  endpoint_->start(options, command, std::move(arguments_), Resume{suspension_, std::move(link)});
}

Result<Json> CallAwaiter::outcome() { return suspension_->take(); }

NextAwaiter::NextAwaiter(StreamSource& source, std::stop_source stop)
    : source_(&source), stop_(std::move(stop)) {}

NextAwaiter::NextAwaiter(NextAwaiter&&) noexcept = default;

NextAwaiter::~NextAwaiter() {
  if (suspension_) suspension_->abandon();
}

void NextAwaiter::await_suspend(std::coroutine_handle<> waiting) {
  LAIR_ASSERT(!suspension_, "each is awaited once");
  suspension_ = std::make_shared<Suspension<StreamSource::Item>>(waiting, stop_);
  source_->start_next(
      [suspension = suspension_](StreamSource::Item item) { suspension->resume_with(std::move(item)); });
}

StreamSource::Item NextAwaiter::outcome() { return suspension_->take(); }

}  // namespace lair::detail
