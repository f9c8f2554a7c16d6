// `watch`: code that is edited on disk is served a moment later, and no call fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
#include <tuple>
#include <vector>

#include "os/failpoint.hpp"
#include "support/service_module.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

class Watch : public LeakChecked {
 protected:
  PoolOptions watched(std::size_t size = 2) {
    PoolOptions options = service.options(size);
    options.watch = true;
    lines.emplace(options);
    return options;
  }
  // All of its workers have it, and the pool is whole.
  static bool serves(Pool& pool, int version) {
    return eventually(
        [&] {
          const PoolStats stats = pool.stats();
          const auto reply = pool.try_call<int>("version");
          return reply && *reply == version && !pool.stats().code_fails && stats.ready() == stats.size;
        },
        30s);
  }

  const ServiceModule service;
  std::optional<Lines> lines;
};

TEST_F(Watch, AnEditedModuleIsServedWithoutAFailedCall) {
  for (const char* start : {"spawn", "fork"}) {
    service.write(ServiceModule::version(1));
    PoolOptions options = watched();
    options.worker.start = start;
    Pool pool(std::move(options));
    pool.wait_ready();
    EXPECT_EQ(pool.call<int>("version"), 1);
    call_all_the_time(pool, 2, [&] {
      service.write(ServiceModule::version(2));
      EXPECT_TRUE(serves(pool, 2)) << lines->text();
      service.replace(ServiceModule::version(3));
      EXPECT_TRUE(serves(pool, 3)) << lines->text();
    });
    EXPECT_TRUE(lines->contain(service.file().string() + " has changed on disk: a reload begins"));
    EXPECT_EQ(pool.stats().exits.at("crash"), 0u);
  }
}

TEST_F(Watch, BrokenCodeLeavesTheOldAndTheNextSaveMendsIt) {
  Pool pool(watched());
  pool.wait_ready();
  call_all_the_time(pool, 2, [&] {
    service.write("def version(:\n");
    EXPECT_TRUE(eventually([&] { return pool.stats().code_fails; }, 30s)) << lines->text();
    EXPECT_EQ(pool.call<int>("version"), 1);
    service.write("import the_missing_part\ndef version():\n    return the_missing_part.x\n");
    EXPECT_TRUE(eventually([&] { return lines->contain("No module named 'the_missing_part'"); }, 30s));
    EXPECT_EQ(pool.call<int>("version"), 1);
    std::ofstream(service.folder() / "the_missing_part.py") << "x = 4\n";
    EXPECT_TRUE(serves(pool, 4)) << lines->text();
  });
  std::ofstream(service.folder() / "the_missing_part.py") << "x = 5\n";
  EXPECT_TRUE(serves(pool, 5)) << "what the new code imports is watched as well\n" << lines->text();
}

TEST_F(Watch, APoolThatNeverStartedDoesWhenItsCodeIsMended) {
  service.write("import json\nraise RuntimeError('not yet')\n");
  Pool pool(watched(1));
  EXPECT_FALSE(pool.try_wait_ready());
  service.write(ServiceModule::version(2));
  EXPECT_TRUE(serves(pool, 2)) << lines->text();
}

TEST_F(Watch, WhatOnStartImportsIsWatchedToo) {
  const fs::path part = service.folder() / "parts" / "late.py";
  fs::create_directories(part.parent_path());
  std::ofstream(part) << "x = 1\n";
  service.write(
      "import lair_worker\n"
      "@lair_worker.on_start\n"
      "def load():\n    global late\n    import parts.late as late\n"
      "@lair_worker.command\n"
      "def version():\n    return late.x\n");
  Pool pool(watched(1));
  pool.wait_ready();
  EXPECT_EQ(pool.call<int>("version"), 1);
  std::ofstream(part) << "x = 2\n";
  EXPECT_TRUE(serves(pool, 2)) << lines->text();
}

TEST_F(Watch, ChangesDuringAReloadAreTheNextOnes) {
  PoolOptions options = watched(1);
  std::mutex mutex;
  std::vector<std::string> reloads;
  options.on_event = [&](const PoolEvent& event) {
    const std::lock_guard lock(mutex);
    if (event.kind == PoolEventKind::kReload) reloads.push_back(event.reason);
  };
  Pool pool(std::move(options));
  pool.wait_ready();
  std::optional<Lease> lease = pool.checkout();  // it must be given back before a reload can end
  service.write(ServiceModule::version(2));
  ASSERT_TRUE(eventually([&] { return pool.stats().revision == 2; }, 30s)) << lines->text();
  service.write(ServiceModule::version(3));
  lease.reset();
  EXPECT_TRUE(serves(pool, 3)) << lines->text();
  EXPECT_TRUE(eventually(
      [&] {
        const std::lock_guard lock(mutex);
        return reloads == std::vector<std::string>{"begun", "complete", "begun", "complete"};
      },
      30s))
      << lines->text();
  EXPECT_EQ(pool.stats().revision, 3u);
}

TEST_F(Watch, TheScriptOfAForeignProgramIsWatched) {
  for (const char* part : {"original.py", "no_ping.py"}) {
    fs::copy_file(fs::path(workers_folder()) / part, service.folder() / part);
  }
  const fs::path script = service.folder() / "no_ping.py";
  PoolOptions options = options_for(command({"python3", "no_ping.py", "--worker-id", "{worker_id}"}), 1);
  options.worker.cwd = service.folder().string();
  options.watch = true;
  lines.emplace(options);
  Pool pool(std::move(options));
  pool.wait_ready();
  std::ofstream(script, std::ios::app) << "# another end\n";
  EXPECT_TRUE(eventually([&] { return pool.stats().workers.at(0).revision == 2; }, 30s)) << lines->text();
}

TEST_F(Watch, AFolderThatGoesIsWarnedOfAndThePoolGoesOn) {
  Pool pool(watched());
  pool.wait_ready();
  fs::remove_all(service.folder());
  EXPECT_TRUE(
      eventually([&] { return lines->contain(service.folder().string() + " cannot be watched"); }, 30s));
  EXPECT_EQ(pool.call<int>("version"), 1);
  fs::create_directories(service.folder());
  service.write(ServiceModule::version(2));
  EXPECT_TRUE(serves(pool, 2)) << lines->text();
}

TEST_F(Watch, AServedScriptIsWatchedByItsPathAndItsBytecodeIsNotKept) {
  PoolOptions options = options_for(python("service.py"), 1);
  options.worker.cwd = service.folder().string();
  options.watch = true;
  lines.emplace(options);
  service.write("import helper\ndef version():\n    return helper.x\n");
  std::ofstream(service.folder() / "helper.py") << "x = 1\n";
  Pool pool(std::move(options));
  pool.wait_ready();
  EXPECT_EQ(pool.call<int>("version"), 1);
  std::ofstream(service.folder() / "helper.py") << "x = 2\n";  // as large, and perhaps in the same second
  EXPECT_TRUE(serves(pool, 2)) << lines->text();
  EXPECT_FALSE(fs::exists(service.folder() / "__pycache__"));
}

#ifdef LAIR_FAILPOINTS
TEST_F(Watch, WhereTheSystemRefusesThePoolServesAndSaysSo) {
  using os::failpoint::Point;
  for (const auto& [point, error, remedy] :
       {std::tuple(Point::kInotify, EMFILE, "raise fs.inotify.max_user_instances"),
        std::tuple(Point::kInotifyAdd, ENOSPC, "raise fs.inotify.max_user_watches")}) {
    service.write(ServiceModule::version(1));
    os::failpoint::arm(os::failpoint::Process::kHost, point, {.error = error, .times = 1u << 30});
    Pool pool(watched(1));
    pool.wait_ready();
    EXPECT_TRUE(eventually([&, remedy = remedy] { return lines->contain(remedy); })) << lines->text();
    service.write(ServiceModule::version(2));
    EXPECT_EQ(pool.call<int>("version"), 1);
    os::failpoint::disarm_all();  // the system has room again
    EXPECT_TRUE(serves(pool, 2)) << lines->text();
  }
}
#endif

TEST_F(Watch, WithoutItNothingIsReloaded) {
  PoolOptions options = service.options(1);
  Pool pool(std::move(options));
  pool.wait_ready();
  service.write(ServiceModule::version(2));
  EXPECT_EQ(pool.call<int>("version"), 1);
  EXPECT_EQ(pool.stats().revision, 1u);
  pool.reload();
  EXPECT_EQ(pool.call<int>("version"), 2);
}

}  // namespace
}  // namespace lair::test
