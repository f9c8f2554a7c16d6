// FaultyVfs: SQLite's own file system, with a test's hand in it. Operations that change files can be made to fail, and the
// wait for the disk can be held up. SQLite knows it by its name while it lives; stores that use it must be gone before.
//
// Nothing really waits for the disk, which makes tests quick. It has no shared memory: a store that does not hold its file exclusively cannot work on it.
//
// Thread-safety: any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

namespace lair::test {

class FaultyVfs {
 public:
  FaultyVfs();
  ~FaultyVfs();
  FaultyVfs(const FaultyVfs&) = delete;
  FaultyVfs& operator=(const FaultyVfs&) = delete;

  const std::string& name() const { return name_; }

  // After `passes` more changes (writes, syncs, truncations), `fails` of them fail with this code of SQLite's.
  void fail_after(std::uint64_t passes, std::uint64_t fails, int code);
  // A disk with no more room than it has now: whatever would make a file longer fails with SQLITE_FULL.
  void fill_up(bool full) { full_ = full; }

  // Reading fails with this code; SQLITE_OK: no more.
  void fail_reads(int code) { read_code_ = code; }

  std::uint64_t writes() const { return writes_; }  // that were asked for, of any file
  std::uint64_t syncs() const { return syncs_; }
  std::uint64_t failures() const { return failures_; }

  // The next sync and all after it wait until they are let go.
  void hold_syncs();
  void release_syncs();
  bool is_holding() const;  // does one wait?

 private:
  friend struct FaultyFile;
  struct Registration;
  int change(std::atomic<std::uint64_t>& count);  // SQLITE_OK, or what it fails with
  int sync();

  std::string name_;
  std::unique_ptr<Registration> registration_;
  std::atomic<bool> full_ = false;
  std::atomic<int> read_code_ = 0;
  std::atomic<std::uint64_t> writes_ = 0;
  std::atomic<std::uint64_t> syncs_ = 0;
  std::atomic<std::uint64_t> failures_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable let_go_;
  std::uint64_t passes_ = 0;
  std::uint64_t fails_ = 0;
  int code_ = 0;
  bool hold_ = false;
  int holding_ = 0;
};

}  // namespace lair::test
