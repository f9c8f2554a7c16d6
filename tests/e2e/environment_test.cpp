// What a worker finds around it: interpreter, search path, directory, environment, CPUs.
#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>

#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair {
namespace {

namespace fs = std::filesystem;
using test::options_for;
using test::python_worker;

class EnvironmentOf : public test::LeakChecked {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("lair-test-" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override {
    fs::remove_all(folder_);
    LeakChecked::TearDown();
  }
  std::string write(const std::string& name, const std::string& text) {
    const fs::path file = folder_ / name;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
    return file.string();
  }

  fs::path folder_;
};

TEST_F(EnvironmentOf, AWorkerIsSetAndInheritedAsAsked) {
  ::setenv("LAIR_TEST_INHERITED", "from the host", 1);
  ::setenv("LAIR_TEST_HIDDEN", "secret", 1);
  PoolOptions options = options_for("plain", 2);
  options.worker.inherit_env = {{"PATH", "HOME", "LAIR_TEST_INH*"}};
  options.worker.env = {{"CUDA_VISIBLE_DEVICES", "{slot}"}, {"WHO", "{worker_id} of {generation}"}};
  Pool pool(std::move(options));
  pool.wait_ready();
  EXPECT_EQ(pool.call("env", "LAIR_TEST_INHERITED"), "from the host");
  EXPECT_EQ(pool.call("env", "LAIR_TEST_HIDDEN"), nullptr);
  EXPECT_EQ(pool.call("env", "OMP_NUM_THREADS"), "1");
  EXPECT_EQ(pool.call("env", "LAIR_CHANNEL_FD"), nullptr);  // no grandchild should try to use it
  auto first = pool.checkout();
  auto second = pool.checkout();
  for (Lease* lease : {&first, &second}) {
    const std::string slot = std::to_string(lease->worker().slot);
    EXPECT_EQ(lease->call("env", "CUDA_VISIBLE_DEVICES"), slot);
    EXPECT_EQ(lease->call("env", "WHO"), "test-" + slot + "-1 of 1");
    EXPECT_EQ(lease->call("env", "LAIR_SLOT"), slot);
  }
  ::unsetenv("LAIR_TEST_INHERITED");
  ::unsetenv("LAIR_TEST_HIDDEN");
}

TEST_F(EnvironmentOf, AWorkerOneMegabyteOfVariablesIsFine) {
  PoolOptions options = options_for("plain", 1);
  for (int i = 0; i < 10; ++i) options.worker.env["LARGE_" + std::to_string(i)] = std::string(100'000, 'x');
  Pool pool(std::move(options));
  EXPECT_EQ(pool.call<std::string>("env", "LARGE_7").size(), 100'000u);
}

TEST_F(EnvironmentOf, AWorkerIsItsOwnDirectoryAndSearchPath) {
  write("helper/found_here.py", "ANSWER = 42\n");
  write("mine.py",
        "import os, found_here\ndef where():\n    return os.getcwd()\ndef answer():\n    return "
        "found_here.ANSWER\n");
  WorkerSpec spec = python("mine");  // the working directory is on the search path
  spec.cwd = folder_.string();
  spec.python_path = {(folder_ / "helper").string()};
  Pool pool(options_for(std::move(spec), 1));
  EXPECT_EQ(pool.call("where"), fs::canonical(folder_).string());
  EXPECT_EQ(pool.call("answer"), 42);
}

TEST_F(EnvironmentOf, AWorkerCanBeAScriptByPath) {
  const std::string script = write("script.py",
                                   "import lair_worker\n@lair_worker.command\ndef hello(name):\n    return "
                                   "'hello ' + name\nif __name__ == '__main__':\n    lair_worker.serve()\n");
  Pool pool(options_for(python(script), 1));
  EXPECT_EQ(pool.call("hello", "you"), "hello you");
}

TEST_F(EnvironmentOf, AWorkerBehindAShimIsStartedWithoutIt) {
  const std::string shim = write("shim/python3", "#!/bin/sh\nexec python3 \"$@\"\n");
  fs::permissions(shim, fs::perms::owner_all);
  write("exe.py", "import sys\ndef exe():\n    return sys.executable\n");
  WorkerSpec spec = python("exe");
  spec.cwd = folder_.string();
  spec.interpreter = shim;
  Pool pool(options_for(std::move(spec), 1));
  const auto executable = pool.call<std::string>("exe");
  EXPECT_NE(executable, shim);
  EXPECT_TRUE(fs::exists(executable));
}

TEST_F(EnvironmentOf, AShimThatLiesIsShownInWords) {
  const std::string shim = write("shim/python3", "#!/bin/sh\necho no python here >&2\necho nonsense\n");
  fs::permissions(shim, fs::perms::owner_all);
  WorkerSpec spec = python_worker("plain");
  spec.interpreter = shim;
  Pool pool(options_for(std::move(spec), 1));
  const auto ready = pool.try_wait_ready();
  ASSERT_FALSE(ready);
  EXPECT_EQ(ready.error().stage, "environment");
  EXPECT_NE(ready.error().message.find("nonsense"), std::string::npos) << ready.error().message;
  EXPECT_NE(ready.error().message.find("no python here"), std::string::npos) << ready.error().message;
}

TEST_F(EnvironmentOf, AWorkerInAVirtualEnvironmentIsItsPython) {
  // The smallest that is one: a link and the file that makes it a venv.
  WorkerSpec probe = python_worker("plain");
  fs::create_directories(folder_ / "venv" / "bin");
  write("exe.py",
        "import sys\ndef exe():\n    return sys.executable\ndef prefix():\n    return sys.prefix\n");
  WorkerSpec plain = python("exe");
  plain.cwd = folder_.string();
  std::string real;
  {
    Pool pool(options_for(plain, 1));
    real = fs::canonical(pool.call<std::string>("exe")).string();
  }
  fs::create_symlink(real, folder_ / "venv" / "bin" / "python");
  write("venv/pyvenv.cfg", "home = " + fs::path(real).parent_path().string() + "\n");
  plain.venv = (folder_ / "venv").string();
  Pool pool(options_for(plain, 1));
  EXPECT_EQ(fs::canonical(pool.call<std::string>("prefix")), fs::canonical(folder_ / "venv"));
}

TEST_F(EnvironmentOf, AWorkerKeepsToItsCpus) {
  cpu_set_t ours;
  ASSERT_EQ(::sched_getaffinity(0, sizeof ours, &ours), 0);
  int cpu = 0;
  while (!CPU_ISSET(cpu, &ours)) ++cpu;
  write("cpus.py", "import os\ndef cpus():\n    return sorted(os.sched_getaffinity(0))\n");
  WorkerSpec spec = python("cpus");
  spec.cwd = folder_.string();
  spec.cpu_affinity = {{cpu}};
  Pool pool(options_for(std::move(spec), 1));
  EXPECT_EQ(pool.call("cpus"), Json::array({cpu}));
}

}  // namespace
}  // namespace lair
