#include "keeper.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "os/failpoint.hpp"
#include "os/pidfd.hpp"

namespace lair::keeper {

using os::failpoint::Point;
using os::failpoint::refuses;
using worker::keeper::Failure;
using worker::keeper::Forked;
using worker::keeper::kControlFd;
using worker::keeper::kHostFd;
using worker::keeper::Kind;
using worker::keeper::Report;
using worker::keeper::Spawn;
using worker::keeper::Step;

namespace {

// Until a system that has refused is asked again.
constexpr int kMomentMs = 5;

std::int64_t micros(const timeval& time) { return std::int64_t{time.tv_sec} * 1'000'000 + time.tv_usec; }

}  // namespace

Keeper::Keeper(std::size_t capacity)
    : capacity_(capacity),
      most_children_(capacity + 4096),
      entries_(std::make_unique<Entry[]>(capacity)),
      polls_(std::make_unique<pollfd[]>(capacity + 3)),
      children_(std::make_unique<pid_t[]>(most_children_)),
      pid_(::getpid()) {
  // Nothing but a kill may end it before its host. SIGCHLD is read from a descriptor.
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  signals_.reset(refuses(Point::kSignalfd) ? -1 : ::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) ::_exit(1);  // its host sees it go, and starts another one
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  // Not a sentence but an alarm: should the keeper be stopped when its host dies, it must run on to clean up. When
  // only the thread that started it exits, SIGCONT does nothing.
  ::prctl(PR_SET_PDEATHSIG, SIGCONT);
}

void Keeper::run() {
  (void)send_report({.kind = Kind::kHello, .pid = pid_});
  while (!host_gone_) {
    std::size_t count = 3;
    polls_[0] = {.fd = kControlFd,
                 .events = static_cast<short>(POLLIN | (reports_waiting_ ? POLLOUT : 0)),
                 .revents = 0};
    polls_[1] = {.fd = kHostFd, .events = POLLIN, .revents = 0};
    polls_[2] = {.fd = signals_.get(), .events = POLLIN, .revents = 0};
    for (std::size_t i = 0; i < capacity_; ++i) {
      if (entries_[i].exec_pipe) {
        polls_[count++] = {.fd = entries_[i].exec_pipe.get(), .events = POLLIN, .revents = 0};
      }
    }
    // EINTR, or ENOMEM: nothing to do but to ask again
    if (refuses(Point::kKeeperPoll) || ::poll(polls_.get(), count, look_again_ ? kMomentMs : -1) < 0)
      continue;
    if (polls_[1].revents != 0) break;
    for (std::size_t i = 3; i < count; ++i) {
      if (polls_[i].revents == 0) continue;
      for (std::size_t e = 0; e < capacity_; ++e) {
        if (entries_[e].exec_pipe && entries_[e].exec_pipe.get() == polls_[i].fd) on_exec_pipe(entries_[e]);
      }
    }
    if (polls_[2].revents != 0 || look_again_) on_children();
    if ((polls_[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) on_control();
    send_reports();
  }
  end_all();
}

// --- Orders ----------------------------------------------------------------------------------------

void Keeper::on_control() {
  for (;;) {
    Spawn order;
    os::Received received = os::receive_message(kControlFd, &order, sizeof order);
    switch (received.status) {
      case os::MessageStatus::kWouldBlock:
        return;
      case os::MessageStatus::kOk:
        break;
      case os::MessageStatus::kClosed:
      case os::MessageStatus::kFailed:
        host_gone_ = true;
        return;
    }
    if (received.size != sizeof order) continue;
    if (order.order == worker::keeper::Order::kKill) {
      kill_worker(order);
    } else {
      spawn(order, received);
    }
  }
}

void Keeper::kill_worker(const Spawn& order) {
  for (std::size_t i = 0; i < capacity_; ++i) {
    const Entry& entry = entries_[i];
    const bool alive = entry.state == State::kSpawning || entry.state == State::kRunning;
    if (alive && entry.slot == order.slot && entry.generation == order.generation) ::kill(entry.pid, SIGKILL);
  }
}

void Keeper::spawn(const Spawn& order, os::Received& received) {
  Entry* entry = nullptr;
  for (std::size_t i = 0; i < capacity_ && entry == nullptr; ++i) {
    if (entries_[i].state == State::kFree) entry = &entries_[i];
  }
  if (entry == nullptr) {
    (void)send_report({.kind = Kind::kFailed,
                       .slot = order.slot,
                       .step = Step::kTable,
                       .generation = order.generation,
                       .error = ENOSPC});
    return;
  }
  *entry = Entry{};
  entry->slot = order.slot;
  entry->generation = order.generation;
  // The kernel drops descriptors that find no place in the receiver's table, and delivers the message all the same.
  if (received.fd_count != order.descriptors) return refuse(*entry, Step::kDescriptors, EMFILE);
  if (order.order == worker::keeper::Order::kFork) return order_fork(*entry, order, received);
  fork_worker(*entry, order, received);
}

void Keeper::refuse(Entry& entry, Step step, int error) {
  entry.state = State::kEnded;
  entry.exec_pipe.reset();
  entry.tell_ended = true;
  entry.ending = {.kind = Kind::kFailed,
                  .slot = entry.slot,
                  .step = step,
                  .generation = entry.generation,
                  .error = error};
  entry.pidfd.reset();
}

void Keeper::fork_worker(Entry& entry, const Spawn& order, os::Received& received) {
  int ends[2] = {-1, -1};
  if (refuses(Point::kKeeperPipe) || ::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
    return refuse(entry, Step::kFork, errno);
  entry.exec_pipe.reset(ends[0]);
  const os::Fd write_end(ends[1]);

  const pid_t pid = refuses(Point::kFork) ? -1 : ::fork();
  if (pid < 0) return refuse(entry, Step::kFork, errno);
  if (pid == 0) {
    become_worker({.spawn = order,
                   .fds = received.fds,
                   .fd_count = received.fd_count,
                   .failure_pipe = write_end.get(),
                   .keeper_pid = pid_});
  }
  entry.pid = pid;
  entry.state = State::kSpawning;
  // It can't be reaped by anybody else, so the number is still its own.
  entry.pidfd = os::open_pidfd(pid);
  if (order.keeps != 0 && order.keeps < received.fd_count) entry.warm = std::move(received.fds[order.keeps]);
}

// --- Warm parents ----------------------------------------------------------------------------------
// The parent forks a go-between, which forks the worker, tells us its pid (Forked) and ends; so the worker becomes our
// child. Its pid is known before that, since it is said before: whoever looks at the children, and reads what warm
// parents have said afterwards, never takes a worker for a stranger, nor reaps it as one.

void Keeper::order_fork(Entry& entry, const Spawn& order, os::Received& received) {
  const Entry* parent = nullptr;
  for (std::size_t i = 0; i < capacity_ && parent == nullptr; ++i) {
    const Entry& each = entries_[i];
    const bool alive = each.state == State::kSpawning || each.state == State::kRunning;
    if (alive && each.warm && each.generation == order.parent) parent = &each;
  }
  if (parent == nullptr) return refuse(entry, Step::kWarmParent, ECHILD);
  int ends[2] = {-1, -1};
  if (refuses(Point::kKeeperPipe) || ::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
    return refuse(entry, Step::kFork, errno);
  entry.exec_pipe.reset(ends[0]);
  const os::Fd write_end(ends[1]);
  int fds[os::kMostDescriptors];
  std::size_t count = 0;
  for (; count < received.fd_count && count + 1 < os::kMostDescriptors; ++count)
    fds[count] = received.fds[count].get();
  fds[count++] = write_end.get();
  const os::MessageStatus sent = os::send_message(parent->warm.get(), &order, sizeof order, fds, count);
  if (sent != os::MessageStatus::kOk) return refuse(entry, Step::kWarmParent, errno);
  entry.state = State::kForking;
  entry.forked = true;
}

// Reads what the warm parents have said. False: the system refused, and there may be more.
bool Keeper::take_forked() {
  for (std::size_t i = 0; i < capacity_; ++i) {
    while (entries_[i].warm) {
      Forked forked;
      errno = 0;
      const os::Received received = os::receive_message(entries_[i].warm.get(), &forked, sizeof forked);
      if (received.status == os::MessageStatus::kWouldBlock && errno == ENOMEM) return false;
      if (received.status != os::MessageStatus::kOk) break;
      if (received.size == sizeof forked && forked.pid > 1) on_forked(forked);
    }
  }
  return true;
}

void Keeper::on_forked(const Forked& forked) {
  for (std::size_t i = 0; i < capacity_; ++i) {
    Entry& entry = entries_[i];
    if (entry.state != State::kForking || entry.slot != forked.slot || entry.generation != forked.generation)
      continue;
    entry.pid = forked.pid;
    entry.state = State::kSpawning;
    // Its first parent waits for nobody, and we reap it only when we have read this: the number is its own.
    entry.pidfd = os::open_pidfd(forked.pid);
    return;
  }
  ::kill(forked.pid, SIGKILL);  // given up meanwhile
}

// --- Births ----------------------------------------------------------------------------------------

// Data: it failed before exec. End of file: exec has closed it (or the child died, which SIGCHLD will tell). One that is
// forked from a warm parent closes it by itself, and is our child by then.
void Keeper::on_exec_pipe(Entry& entry) {
  Failure failure;
  const ssize_t n =
      refuses(Point::kExecPipeRead) ? -1 : ::read(entry.exec_pipe.get(), &failure, sizeof failure);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  const bool failed = n == static_cast<ssize_t>(sizeof failure);
  if (entry.state == State::kForking && !take_forked()) {
    look_again_ = true;
    if (!failed) return;  // the pipe is at its end, and will say so again
  }
  if (failed) entry.failure = failure;
  if (entry.failure.step > Step::kWarmParent) entry.failure.step = Step::kWarmParent;
  settle(entry, failed);
}

void Keeper::settle(Entry& entry, bool failed) {
  if (entry.state == State::kForking) {  // there is, or was, no process that we know
    const bool told = failed && entry.failure.step != Step::kNone;
    return refuse(entry, told ? entry.failure.step : Step::kWarmParent, told ? entry.failure.error : ECHILD);
  }
  siginfo_t info{};
  if (entry.forked &&
      ::waitid(P_PID, static_cast<id_t>(entry.pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0) {
    // It has not become our child (a module has made its warm parent a subreaper): its end would never be known.
    if (entry.pidfd) (void)os::signal_pidfd(entry.pidfd.get(), SIGKILL);
    return refuse(entry, Step::kWarmParent, ECHILD);
  }
  entry.exec_pipe.reset();
  entry.state = State::kRunning;
  if (failed) return;  // reported when it is reaped
  if (!entry.pidfd) {  // out of descriptors: without one, the host could not supervise it
    entry.failure = {.step = Step::kFork, .error = EMFILE};
    ::kill(entry.pid, SIGKILL);
    return;
  }
  entry.tell_spawned = true;
}

// --- Deaths ----------------------------------------------------------------------------------------

Keeper::Entry* Keeper::find(pid_t pid) {
  for (std::size_t i = 0; i < capacity_; ++i) {
    const State state = entries_[i].state;
    if ((state == State::kSpawning || state == State::kRunning) && entries_[i].pid == pid)
      return &entries_[i];
  }
  return nullptr;
}

void Keeper::on_children() {
  signalfd_siginfo drained[8];
  while (!refuses(Point::kSignalsRead) && ::read(signals_.get(), drained, sizeof drained) > 0) {
  }
  bool any = false;
  if (std::exchange(look_again_, false)) any = true;
  for (;;) {
    // A look first: as long as the zombie is not reaped, its number and its group's cannot be given to others.
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) break;
    any = true;
    Entry* entry = find(info.si_pid);
    if (entry == nullptr || entry->warm) {
      // Its birth may not have been read yet; and nothing that a warm parent has said is lost with it.
      if (!take_forked()) {
        look_again_ = true;
        return;
      }
      entry = find(info.si_pid);
    }
    if (entry != nullptr) {
      on_ended(*entry, info);
    } else {
      ::waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED | WNOHANG);
    }
  }
  if (any) kill_strangers();
}

void Keeper::on_ended(Entry& entry, const siginfo_t& info) {
  if (entry.state == State::kSpawning) on_exec_pipe(entry);
  if (entry.state == State::kSpawning) settle(entry, false);  // its warm parent still holds the pipe
  ::kill(-entry.pid, SIGKILL);                                // whatever is left of its group
  int status = 0;
  rusage usage{};
  ::wait4(entry.pid, &status, 0, &usage);
  entry.state = State::kEnded;
  entry.exec_pipe.reset();
  entry.tell_ended = true;
  if (entry.failure.step != Step::kNone) {
    entry.ending = {.kind = Kind::kFailed,
                    .slot = entry.slot,
                    .step = entry.failure.step,
                    .generation = entry.generation,
                    .error = entry.failure.error};
    return;
  }
  entry.ending = {.kind = Kind::kExited,
                  .slot = entry.slot,
                  .generation = entry.generation,
                  .pid = entry.pid,
                  .signalled = info.si_code == CLD_EXITED ? 0 : 1,
                  .code = info.si_status,
                  .user_us = micros(usage.ru_utime),
                  .system_us = micros(usage.ru_stime),
                  .max_rss_kib = usage.ru_maxrss};
}

// A child that is no worker was a worker's: the worker is dead, and its children have come to us. Each one killed brings
// a SIGCHLD, and with it another look for those that it leaves behind.
void Keeper::kill_strangers() {
  std::size_t count = 0;
  if (!child_list_.look(children_.get(), most_children_, count)) look_again_ = true;
  // After the look: see above, at warm parents.
  if (!take_forked()) {
    look_again_ = true;
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (find(children_[i]) == nullptr) ::kill(children_[i], SIGKILL);
  }
}

void Keeper::end_all() {
  for (std::size_t i = 0; i < capacity_; ++i) {
    const Entry& entry = entries_[i];
    if (entry.state != State::kSpawning && entry.state != State::kRunning) continue;
    ::kill(-entry.pid, SIGKILL);
    ::kill(entry.pid, SIGKILL);  // it may not have made its group yet
  }
  for (;;) {
    std::size_t count = 0;
    const bool looked = child_list_.look(children_.get(), most_children_, count);
    for (std::size_t i = 0; i < count; ++i) ::kill(children_[i], SIGKILL);
    siginfo_t info{};
    if (refuses(Point::kSweepWait) ||
        ::waitid(P_ALL, 0, &info, WEXITED | WNOWAIT | (looked ? 0 : WNOHANG)) != 0) {
      if (errno == EINTR) continue;
      return;  // ECHILD: none is left
    }
    if (info.si_pid == 0) {
      ::poll(nullptr, 0, kMomentMs);
      continue;
    }
    if (find(info.si_pid) != nullptr) ::kill(-info.si_pid, SIGKILL);
    ::waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED | WNOHANG);
  }
}

// --- Reports ---------------------------------------------------------------------------------------

bool Keeper::send_report(const Report& report, int fd) {
  switch (os::send_message(kControlFd, &report, sizeof report, &fd, fd < 0 ? 0 : 1)) {
    case os::MessageStatus::kOk:
      return true;
    case os::MessageStatus::kClosed:
      host_gone_ = true;
      return true;
    case os::MessageStatus::kWouldBlock:
    case os::MessageStatus::kFailed:
      break;  // ENOMEM, ENOBUFS: later
  }
  reports_waiting_ = true;
  return false;
}

void Keeper::send_reports() {
  reports_waiting_ = false;
  for (std::size_t i = 0; i < capacity_ && !reports_waiting_; ++i) {
    Entry& entry = entries_[i];
    if (entry.tell_spawned) {
      const Report spawned{
          .kind = Kind::kSpawned, .slot = entry.slot, .generation = entry.generation, .pid = entry.pid};
      if (!send_report(spawned, entry.pidfd.get())) return;
      entry.tell_spawned = false;
      entry.pidfd.reset();
    }
    if (entry.tell_ended) {
      if (!send_report(entry.ending)) return;
      entry = Entry{};
    }
  }
}

}  // namespace lair::keeper
