#include "worker/keeper_order.hpp"

#include <cerrno>
#include <string>
#include <utility>

#include "os/memfd.hpp"
#include "os/stream_pair.hpp"

namespace lair::worker {

namespace {

std::string serialised(const SpawnRequest& request, bool with_channel) {
  keeper::Strings head{.argc = static_cast<std::uint32_t>(request.argv.size()),
                       .envc = static_cast<std::uint32_t>(request.env.size() + (with_channel ? 1 : 0))};
  std::string blob(reinterpret_cast<const char*>(&head), sizeof head);
  const auto add = [&blob](const std::string& text) { blob.append(text.c_str(), text.size() + 1); };
  for (const std::string& argument : request.argv) add(argument);
  for (const std::string& variable : request.env) add(variable);
  if (with_channel) add("LAIR_CHANNEL_FD=" + std::to_string(keeper::kWorkerChannelFd));
  add(request.cwd);
  return blob;
}

}  // namespace

const char* words_for(keeper::Step step) {
  switch (step) {
    case keeper::Step::kTable:
      return "lair-keeper has no room for another worker";
    case keeper::Step::kFork:
      return "cannot make a process";
    case keeper::Step::kSession:
      return "cannot set up the process";
    case keeper::Step::kStrings:
      return "cannot pass the command line";
    case keeper::Step::kAffinity:
      return "cannot set the CPU affinity (cpu_affinity)";
    case keeper::Step::kDirectory:
      return "cannot change to the directory cwd";
    case keeper::Step::kDescriptors:
      return "cannot place the descriptors";
    case keeper::Step::kExec:
      return "cannot execute";
    case keeper::Step::kWarmParent:
      return "the warm parent that it was to be forked from (start = fork) is gone";
    case keeper::Step::kNone:
      break;
  }
  return "cannot start";
}

const char* name_of(keeper::Step step) {
  constexpr const char* kNames[] = {"none",     "table", "fork",        "session", "strings",
                                    "affinity", "cwd",   "descriptors", "exec",    "warm_parent"};
  return kNames[static_cast<std::size_t>(step)];
}

bool is_permanent(keeper::Step step, int error) {
  const bool of_the_request =
      step == keeper::Step::kExec || step == keeper::Step::kDirectory || step == keeper::Step::kAffinity;
  return of_the_request && error != EAGAIN && error != ENOMEM && error != EMFILE && error != ENFILE &&
         error != ETXTBSY && error != EINTR;
}

Plumbing lay_pipes(const SpawnRequest& request) {
  Plumbing plumbing;
  const auto refused = [&plumbing] {
    plumbing.error = errno;
    return std::move(plumbing);
  };
  plumbing.strings =
      os::make_memfd("lair-spawn", serialised(request, request.stdio == StdioMode::kChannelFd));
  if (!plumbing.strings) return refused();

  const auto log_pipe = [](os::Fd& read_end, os::Fd& write_end) {
    auto pipe = os::make_pipe();
    if (!pipe.read_end) return false;
    os::set_nonblocking(pipe.read_end.get());
    read_end = std::move(pipe.read_end);
    write_end = std::move(pipe.write_end);
    return true;
  };
  if (!log_pipe(plumbing.ours.stderr_log, plumbing.err)) return refused();
  switch (request.stdio) {
    case StdioMode::kChannelFd:
    case StdioMode::kStdioSocket: {
      auto pair = os::make_stream_pair();
      if (!pair.ours) return refused();
      plumbing.ours.channel = std::move(pair.ours);
      if (request.stdio == StdioMode::kStdioSocket) {
        plumbing.in = std::move(pair.theirs);
        break;
      }
      plumbing.channel = std::move(pair.theirs);
      if (!log_pipe(plumbing.ours.stdout_log, plumbing.out)) return refused();
      if (request.birth == Birth::kWarmParent) {
        auto warm = os::make_message_pair();
        if (!warm.ours) return refused();
        plumbing.keeper_end = std::move(warm.ours);
        plumbing.warm = std::move(warm.theirs);
      }
      break;
    }
    case StdioMode::kStdioPipe: {
      if (!log_pipe(plumbing.ours.channel, plumbing.out)) return refused();
      auto pipe = os::make_pipe();
      if (!pipe.read_end) return refused();
      os::set_nonblocking(pipe.write_end.get());
      plumbing.ours.channel_keep = os::duplicate(pipe.read_end.get());
      if (!plumbing.ours.channel_keep) return refused();
      plumbing.ours.channel_out = std::move(pipe.write_end);
      plumbing.in = std::move(pipe.read_end);
      break;
    }
    case StdioMode::kNoChannel:
      if (!log_pipe(plumbing.ours.stdout_log, plumbing.out)) return refused();
      break;
  }
  return plumbing;
}

EncodedOrder encode_order(const SpawnRequest& request, const Plumbing& plumbing) {
  EncodedOrder encoded;
  auto& [order, fds] = encoded;
  order.order = request.birth == Birth::kFork ? keeper::Order::kFork : keeper::Order::kSpawn;
  order.slot = request.key.slot;
  order.generation = request.key.generation;
  order.parent = request.parent;
  std::uint8_t count = 0;
  fds[count++] = plumbing.strings.get();
  const auto place = [&order = order, &fds = fds, &count](std::size_t target, const os::Fd& fd) {
    if (!fd) return;
    order.place[target] = count;
    fds[count++] = fd.get();
  };
  place(0, plumbing.in);
  place(1, plumbing.out ? plumbing.out : plumbing.in);
  place(2, plumbing.err);
  place(keeper::kWorkerChannelFd, plumbing.channel);
  place(keeper::kWarmFd, plumbing.warm);
  if (plumbing.keeper_end) {
    order.keeps = count;
    fds[count++] = plumbing.keeper_end.get();
  }
  order.descriptors = count;
  for (const int cpu : request.cpus) {
    order.has_cpus = 1;
    order.cpus[static_cast<std::size_t>(cpu) / 64] |= std::uint64_t{1} << (cpu % 64);
  }
  return encoded;
}

}  // namespace lair::worker
