// Storm: many callers, workers that misbehave as they are told, and a tormentor who kills and stops others; everything
// that callers are told goes into a History. For pools whose workers are tests/workers/chaos.py.
//
// What a call does is a function of its number, so that all kinds come in any order that threads happen to run in.
//
// Thread-safety: one thread at a time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <lair/pool.hpp>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/history.hpp"
#include "support/tormentor.hpp"

namespace lair::test {

struct StormOptions {
  int callers = 8;
  // All of them, or only so many: it changes every ten kills. With fewer callers than workers some workers rest.
  int callers_in_a_lull = 3;
  // A worker that has completed calls is killed, or, one in so many (0: none), stopped.
  Duration kill_every = std::chrono::milliseconds(100);
  unsigned stop_one_in = 15;
  // So many calls (0: none) crash, hang or babble.
  unsigned trouble_one_in = 400;
  // What an ordinary call may take, and, if they are all alike, what it does take, in milliseconds.
  Duration timeout = std::chrono::seconds(2);
  int all_take_ms = 0;
};

class Storm {
 public:
  Storm(Pool& pool, History& history, const StormOptions& options);
  ~Storm();
  Storm(const Storm&) = delete;
  Storm& operator=(const Storm&) = delete;

  // Until `enough` says so (or the history is full). Returns when no call is under way.
  void blow(const std::function<bool()>& enough);
  // Waits until all workers answer at the same time: none is stopped, and none has anything left to say. Each answers at
  // length, so that all channels have had their longest message, and hold the same memory every time.
  // False if that does not come about.
  bool calm();

  unsigned kills() const { return kills_; }
  unsigned stops() const { return stops_; }
  bool pool_failed() const { return failed_; }  // at any time that was looked at, ten times a second

 private:
  void call_until_enough(int caller);
  void call();
  void leased();
  void make_trouble(std::uint32_t number, std::uint64_t chance);
  // What its caller was told, which is in the history then.
  Told asked(Endpoint& endpoint, std::uint32_t number, const CallOptions& options, const std::string& deed,
             int amount = 0, const std::string& padding = {}, bool admitted = true);
  void torment();
  void hit(int signal);

  Pool& pool_;
  History& history_;
  const StormOptions options_;
  std::atomic<bool> enough_ = false;
  std::atomic<bool> lull_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;  // enough_, lull_
  std::atomic<unsigned> kills_ = 0;
  std::atomic<unsigned> stops_ = 0;
  std::atomic<bool> failed_ = false;
  Tormentor tormentor_{pool_, 20};
};

// What this process and its pool's keeper hold. Without the history itself.
struct Footprint {
  std::size_t descriptors = 0;
  std::size_t keeper_descriptors = 0;
  std::size_t resident = 0;   // bytes, without files' pages
  std::size_t allocated = 0;  // of the heap, by whoever
  std::size_t keeper_resident = 0;

  // To be called before there are threads: all share one heap, which can be trimmed. The tops of others stay resident,
  // and which thread has which is a matter of chance.
  static void of_one_heap();
  static Footprint now(const History& history);
  std::string text() const;
};

// There are no more descriptors than when `fresh` and `warm` were taken, and of the memory of `warm` no more than 5 % has come to stay; resident
// memory by 256 KiB more, since it comes and goes by pages. (Memory is not looked at under sanitizers, which keep what is
// freed.) Returns what there is now.
Footprint expect_flat(const History& history, const Footprint& fresh, const Footprint& warm);

// The history has no flaw, and the pool's books say the same as it does.
void expect_flawless(const History& history, const PoolStats& stats);
// "1000 calls: 990 ok, 5 worker_lost, …".
std::string summary(const History& history);

}  // namespace lair::test
