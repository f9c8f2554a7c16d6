#include "support/faulty_vfs.hpp"

#include <sqlite3.h>

namespace lair::test {

// What SQLite takes for one of its files: ours, followed in memory by the one that does the work.
struct FaultyFile {
  sqlite3_file base;
  FaultyVfs* vfs;

  static FaultyFile& of(sqlite3_file* file) { return *reinterpret_cast<FaultyFile*>(file); }
  static sqlite3_file* real(sqlite3_file* file) {
    return reinterpret_cast<sqlite3_file*>(reinterpret_cast<FaultyFile*>(file) + 1);
  }

  static int close(sqlite3_file* file) { return real(file)->pMethods->xClose(real(file)); }
  static int read(sqlite3_file* file, void* data, int size, sqlite3_int64 at) {
    if (const int code = of(file).vfs->read_code_; code != SQLITE_OK) return code;
    return real(file)->pMethods->xRead(real(file), data, size, at);
  }
  static int write(sqlite3_file* file, const void* data, int size, sqlite3_int64 at) {
    FaultyVfs& vfs = *of(file).vfs;
    if (const int code = vfs.change(vfs.writes_); code != SQLITE_OK) return code;
    sqlite3_int64 length = 0;
    real(file)->pMethods->xFileSize(real(file), &length);
    if (vfs.full_ && at + size > length) {
      ++vfs.failures_;
      return SQLITE_FULL;
    }
    return real(file)->pMethods->xWrite(real(file), data, size, at);
  }
  static int truncate(sqlite3_file* file, sqlite3_int64 size) {
    FaultyVfs& vfs = *of(file).vfs;
    if (const int code = vfs.change(vfs.writes_); code != SQLITE_OK) return code;
    return real(file)->pMethods->xTruncate(real(file), size);
  }
  // No process of these tests ends before its time, so that nothing need really be on the disk.
  static int sync(sqlite3_file* file, int /*flags*/) { return of(file).vfs->sync(); }
  static int size(sqlite3_file* file, sqlite3_int64* size) {
    return real(file)->pMethods->xFileSize(real(file), size);
  }
  static int lock(sqlite3_file* file, int level) { return real(file)->pMethods->xLock(real(file), level); }
  static int unlock(sqlite3_file* file, int level) {
    return real(file)->pMethods->xUnlock(real(file), level);
  }
  static int reserved(sqlite3_file* file, int* result) {
    return real(file)->pMethods->xCheckReservedLock(real(file), result);
  }
  static int control(sqlite3_file* file, int what, void* data) {
    // Room that is set aside beforehand would be written to behind our back.
    if (what == SQLITE_FCNTL_SIZE_HINT || what == SQLITE_FCNTL_CHUNK_SIZE) return SQLITE_OK;
    return real(file)->pMethods->xFileControl(real(file), what, data);
  }
  static int sector(sqlite3_file* file) { return real(file)->pMethods->xSectorSize(real(file)); }
  static int traits(sqlite3_file* file) { return real(file)->pMethods->xDeviceCharacteristics(real(file)); }

  static const sqlite3_io_methods kMethods;

  static int open(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* given);
};

// Version 1: without shared memory.
const sqlite3_io_methods FaultyFile::kMethods = {
    1,       close,  read,   write,   truncate, sync,    size,    lock,    unlock, reserved,
    control, sector, traits, nullptr, nullptr,  nullptr, nullptr, nullptr, nullptr};

struct FaultyVfs::Registration {
  sqlite3_vfs vfs;
};

int FaultyFile::open(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* given) {
  auto* const real_vfs = sqlite3_vfs_find("unix");
  of(file).base.pMethods = nullptr;
  of(file).vfs = static_cast<FaultyVfs*>(vfs->pAppData);
  const int code = real_vfs->xOpen(real_vfs, path, real(file), flags, given);
  if (code == SQLITE_OK) of(file).base.pMethods = &kMethods;
  return code;
}

FaultyVfs::FaultyVfs() : registration_(std::make_unique<Registration>()) {
  static std::atomic<int> number = 0;
  name_ = "faulty-" + std::to_string(++number);
  sqlite3_vfs& vfs = registration_->vfs;
  sqlite3_initialize();
  vfs = *sqlite3_vfs_find("unix");
  vfs.szOsFile += static_cast<int>(sizeof(FaultyFile));
  vfs.pNext = nullptr;
  vfs.zName = name_.c_str();
  vfs.pAppData = this;
  vfs.xOpen = FaultyFile::open;
  sqlite3_vfs_register(&vfs, 0);
}

FaultyVfs::~FaultyVfs() { sqlite3_vfs_unregister(&registration_->vfs); }

void FaultyVfs::fail_after(std::uint64_t passes, std::uint64_t fails, int code) {
  const std::lock_guard lock(mutex_);
  passes_ = passes;
  fails_ = fails;
  code_ = code;
}

int FaultyVfs::change(std::atomic<std::uint64_t>& count) {
  ++count;
  const std::lock_guard lock(mutex_);
  if (fails_ == 0) return SQLITE_OK;
  if (passes_ > 0) return --passes_, SQLITE_OK;
  --fails_;
  ++failures_;
  return code_;
}

int FaultyVfs::sync() {
  {
    std::unique_lock lock(mutex_);
    ++holding_;
    let_go_.wait(lock, [this] { return !hold_; });
    --holding_;
  }
  return change(syncs_);
}

void FaultyVfs::hold_syncs() {
  const std::lock_guard lock(mutex_);
  hold_ = true;
}

void FaultyVfs::release_syncs() {
  const std::lock_guard lock(mutex_);
  hold_ = false;
  let_go_.notify_all();
}

bool FaultyVfs::is_holding() const {
  const std::lock_guard lock(mutex_);
  return hold_ && holding_ > 0;
}

}  // namespace lair::test
