// Stacks on demand: a caller's question what a worker is doing, and the supervisor's way to the answer.
//
// The supervisor has the worker signalled and looks at the file to which it then appends its stacks, until they are whole
// (os/stack_file.hpp). One worker is looked at by one look at a time. Who asks while one is under way gets the next:
// what he is told is never older than his question.
//
// Thread-safety: StackDesk: any thread. Stacks: the supervisor's.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <lair/result.hpp>
#include <lair/worker_stack.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "os/stack_file.hpp"
#include "pool/record.hpp"

namespace lair::worker {
class Launcher;
}

namespace lair::pool {

class Shell;

// Where callers leave their questions for the supervisor, and wait.
class StackDesk {
 public:
  struct Question {
    std::uint32_t slot = 0;
    Deadline deadline = Deadline::never();
    std::optional<Result<WorkerStack>> answer = {};  // guarded by the desk's mutex
  };
  using QuestionPtr = std::shared_ptr<Question>;

  // False once nobody will answer any more.
  bool leave(const QuestionPtr& question);
  // Blocks until it is answered, or `until`: nothing, then.
  std::optional<Result<WorkerStack>> wait(const QuestionPtr& question, Deadline until);

  // The supervisor's.
  std::vector<QuestionPtr> collect();
  void answer(const QuestionPtr& question, Result<WorkerStack> answer);
  void close();

 private:
  std::mutex mutex_;
  std::condition_variable answered_;
  std::vector<QuestionPtr> questions_;
  bool closed_ = false;
};

class Stacks {
 public:
  Stacks(Shell& shell, worker::Launcher& launcher) : shell_(shell), launcher_(launcher) {}

  struct Taken {
    Result<WorkerStack> stack = WorkerStack{};
    TimePoint call_since = {};  // of the call that it names
  };
  // Called exactly once, perhaps at once.
  using Done = std::function<void(const Taken&)>;
  void take(const RecordPtr& record, Deadline deadline, Done done);

  // When `on_time` is next to be called.
  TimePoint next() const { return next_; }
  void on_time(TimePoint now);
  void ended(core::WorkerRef ref);
  void close();

 private:
  struct Waiter {
    Deadline deadline;
    Done done;
  };
  // What a worker had under way.
  struct Situation {
    SlotState state = SlotState::kIdle;
    std::string command;
    TimePoint call_since = {};
  };
  // One worker that has been asked at least once.
  struct Watched {
    RecordPtr record;
    os::StackFile file;           // open during a look
    std::vector<Waiter> waiters;  // of this look
    std::vector<Waiter> later;    // of the next one
    bool signalled = false;       // and what that brings about has not been seen to its end
    bool stale = false;           // what is in the file comes from before this look
    std::vector<int> blocking;    // the threads that blocked the signal before it was sent
    std::size_t last_size = 0;
    Situation situation;  // when it was signalled
    TimePoint look_at = TimePoint::max();
    Duration pause = {};
  };

  void answer_questions();
  // Begins the look that the waiters wait for, if there are any.
  void start(Watched& watched, TimePoint now);
  std::optional<Error> begin(Watched& watched);
  void ask(Watched& watched);
  void look(Watched& watched, TimePoint now);
  bool is_whole(Watched& watched);
  void finish(Watched& watched, const Taken& taken);
  Error lateness(const Watched& watched) const;
  Situation situation_of(const Record& record) const;

  Shell& shell_;
  worker::Launcher& launcher_;
  std::map<core::WorkerRef, Watched> watched_;
  TimePoint next_ = TimePoint::max();
};

}  // namespace lair::pool
