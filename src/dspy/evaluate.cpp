#include <algorithm>
#include <condition_variable>
#include <deque>
#include <lair/deadline.hpp>
#include <lair/dspy_program.hpp>
#include <lair/pool.hpp>
#include <lair/session.hpp>
#include <mutex>
#include <optional>

#include "dspy/connection.hpp"
#include "dspy/errors.hpp"

namespace lair::dspy {

namespace {

// Work for the thread that evaluates: it waits for the slices anyway, and so runs what they call back.
class Desk {
 public:
  void put(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    work_.push_back(std::move(work));
    changed_.notify_one();
  }
  void do_next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !work_.empty(); });
    auto work = std::move(work_.front());
    work_.pop_front();
    lock.unlock();
    work();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> work_;
};

// Slices of the examples, a few under way at a time. All but the desk belongs to the thread that evaluates.
class Spread {
 public:
  Spread(Endpoint& over, const CallOptions& options, Json asked, const std::vector<Json>& examples,
         const EvaluateOptions& how)
      : over_(over),
        deadline_(Deadline::after(options.timeout.value_or(kForever))),
        link_(options.stop),
        options_(options),
        asked_(std::move(asked)),
        examples_(examples),
        how_(how) {
    options_.executor = [desk = desk_](std::function<void()> work) { desk->put(std::move(work)); };
    options_.stop = link_.token();
    at_once_ = how.at_once != 0 ? how.at_once : 4;
    if (const auto* pool = dynamic_cast<Pool*>(&over); pool != nullptr && how.at_once == 0) {
      at_once_ = pool->options().size * pool->options().concurrency;
    }
    const std::size_t even = (examples.size() + at_once_ - 1) / at_once_;
    slice_ = how.slice != 0 ? how.slice : std::clamp<std::size_t>(even, 1, 8);
  }

  ~Spread() { link_.source().request_stop(); }  // if `on_progress` has thrown
  Spread(const Spread&) = delete;
  Spread& operator=(const Spread&) = delete;

  Result<Evaluation> run() {
    const auto started = SteadyClock::now();
    found_.results.reserve(examples_.size());
    do {
      while (under_way_ < at_once_ && next_ < examples_.size() && !failed_) start_slice();
      desk_->do_next();
    } while (under_way_ > 0 || (next_ < examples_.size() && !failed_));
    if (failed_) return *std::move(failed_);
    std::ranges::sort(found_.results, {}, &Scored::index);
    double total = 0;
    for (const Scored& each : found_.results) {
      total += each.score;
      if (!each.error.empty()) ++found_.errors;
    }
    found_.score = 100 * total / static_cast<double>(found_.results.size());
    found_.seconds = std::chrono::duration<double>(SteadyClock::now() - started).count();
    return std::move(found_);
  }

 private:
  void start_slice() {
    const std::size_t end = std::min(next_ + slice_, examples_.size());
    Json asked = asked_;
    asked["offset"] = next_;
    asked["num_threads"] = slice_;
    for (; next_ < end; ++next_) asked["examples"].push_back(examples_[next_]);
    CallOptions options = options_;
    if (options.timeout) options.timeout = std::max(deadline_.remaining(), Duration::zero());
    ++under_way_;
    over_.start(options, "evaluate_program", std::move(asked), [this](Result<Json> reply) {
      --under_way_;
      take(std::move(reply));
    });
  }

  void take(Result<Json> reply) {
    if (failed_) return;
    auto taken = reply ? taken_from(*reply) : Result<void>(std::move(reply).error());
    if (!taken) {
      failed_ = std::move(taken).error();
      link_.source().request_stop();
    } else if (how_.on_progress) {
      how_.on_progress(found_.results.size(), examples_.size());
    }
  }

  Result<void> taken_from(const Json& reply) {
    try {
      for (const Json& each : reply.at("results")) found_.results.push_back(each.get<Scored>());
      found_.lm_calls += reply.value("lm_calls", std::uint64_t{0});
    } catch (const Json::exception& mismatch) {
      return lair::detail::wrong_result_type("evaluate_program", mismatch.what(), reply);
    }
    return {};
  }

  const std::shared_ptr<Desk> desk_ = std::make_shared<Desk>();
  Endpoint& over_;
  const Deadline deadline_;
  lair::detail::StopLink link_;
  CallOptions options_;
  const Json asked_;
  const std::vector<Json>& examples_;
  const EvaluateOptions& how_;
  std::size_t at_once_ = 0;
  std::size_t slice_ = 0;
  std::size_t next_ = 0;
  std::size_t under_way_ = 0;
  Evaluation found_;
  std::optional<Error> failed_;
};

// What runs of a session's program are given by the workers, who keep it in the session's values (lair_dspy/_store.py): the
// program's own LM, or the session's, by whichever client it was set. With its key, which no worker's answer has.
Result<std::optional<Json>> lm_in(Session& session, const std::string& program_id) {
  auto program = session.try_get("dspy/program/" + program_id);
  if (!program) return std::move(program).error();
  if (*program && (*program)->is_object()) {
    if (const auto own = (*program)->find("lm"); own != (*program)->end() && own->is_object())
      return std::optional<Json>(*own);
  }
  return session.try_get("dspy/lm");
}

}  // namespace

Result<Evaluation> Program::try_evaluate(Endpoint& over, const std::vector<Json>& examples,
                                         const EvaluateOptions& how) const {
  if (examples.empty()) return invalid("there are no examples to evaluate");
  Json asked = {{"program_id", id_}, {"metric", how.metric}, {"examples", Json::array()}};
  if (how.outputs) asked["outputs"] = true;
  if (data_) {
    asked["program_data"] = *data_;
  } else {
    auto saved = saving().try_get();
    if (!saved) return std::move(saved).error();
    asked["program_data"] = saved->value("program", Json::object());
  }
  if (how.lm) {
    auto settings = settings_of(*how.lm);
    if (!settings) return std::move(settings).error();
    asked["lm"] = *std::move(settings);
  } else if (auto settings = lm()) {
    asked["lm"] = *std::move(settings);
  } else if (Session* const session = connection_->values) {
    auto kept = lm_in(*session, id_);
    if (!kept) return std::move(kept).error();
    // Without one, the slices must not meet what calls without a session have configured on a worker.
    if (*kept) {
      asked["lm"] = **std::move(kept);
    } else {
      asked["session_id"] = session->id();
    }
  } else if (auto shared = connection_->lm(); shared && !asked["program_data"].contains("lm")) {
    asked["lm"] = *std::move(shared);
  }
  return Spread(over, options_, std::move(asked), examples, how).run();
}

}  // namespace lair::dspy
