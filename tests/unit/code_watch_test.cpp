// Which changes of files on disk are told, and when: real files, invented time.
#include "pool/code_watch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>

#include "os/failpoint.hpp"
#include "support/leak_check.hpp"

namespace lair::pool {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class CodeWatchTest : public test::LeakChecked {
 protected:
  CodeWatchTest() {
    std::string pattern = (fs::temp_directory_path() / "lair-code-XXXXXX").string();
    folder = ::mkdtemp(pattern.data());
    code = (folder / "code.py").string();
    write(code, "1");
  }
  ~CodeWatchTest() override { fs::remove_all(folder); }

  void TearDown() override {
    watch = CodeWatch();
    LeakChecked::TearDown();
  }
  static void write(const std::string& file, const std::string& text) { std::ofstream(file) << text; }
  // The file was there before the worker was.
  void know() { watch.know({code}, CodeWatch::FileTime::clock::now() + 1h, now); }
  // After `passed`, what has changed.
  std::vector<std::string> after(Duration passed, bool code_fails = false) {
    watch.take_news(code_fails, now);
    now += passed;
    watch.look(code_fails, now);
    return watch.changed(now);
  }

  fs::path folder;
  std::string code;
  CodeWatch watch;
  TimePoint now{1h};
};

TEST_F(CodeWatchTest, TellsAWrittenFileOnceItIsLeftAlone) {
  EXPECT_EQ(watch.fd(), -1);
  EXPECT_EQ(watch.next(true), TimePoint::max()) << "nobody is waked for nothing";
  know();
  EXPECT_THAT(after(500ms), IsEmpty());
  write(code, "2");
  EXPECT_THAT(after(199ms), IsEmpty());
  EXPECT_EQ(watch.next(true), now + 1ms);
  write(code, "3");
  EXPECT_THAT(after(199ms), IsEmpty()) << "written again: it waits anew";
  EXPECT_THAT(after(1ms), ElementsAre(code));
  EXPECT_THAT(after(10s), IsEmpty()) << "once";
}

TEST_F(CodeWatchTest, TellsAFileThatIsReplacedByRename) {
  know();
  write(folder / "code.py~", "2");
  fs::rename(folder / "code.py~", code);
  EXPECT_THAT(after(200ms), ElementsAre(code));
  write(code, "3");
  EXPECT_THAT(after(200ms), ElementsAre(code)) << "and the new one is watched as well";
}

TEST_F(CodeWatchTest, IsSilentOnOtherFilesAndOnTheSameContent) {
  know();
  write(folder / "notes.txt", "x");
  write(folder / "other.py", "x");
  write(code, "1");
  EXPECT_THAT(after(10s), IsEmpty());
  fs::remove(code);
  EXPECT_THAT(after(10s), IsEmpty()) << "what is not there cannot be loaded";
  write(code, "1");
  EXPECT_THAT(after(10s), IsEmpty());
  write(folder / "missing.py", "x");
  EXPECT_THAT(after(10s, true), ElementsAre((folder / "missing.py").string()))
      << "while the code fails, any new module may be what it lacks";
}

TEST_F(CodeWatchTest, ChangesWaitWhileAReloadGoesOn) {
  know();
  write(code, "2");
  watch.take_news(false, now);
  EXPECT_EQ(watch.next(true), now + 200ms);
  EXPECT_EQ(watch.next(false), now + 1s) << "the next look after the folders";
}

TEST_F(CodeWatchTest, AFileThatIsYoungerThanItsWorkerMayHaveBeenMissed) {
  watch.know({code}, CodeWatch::FileTime::clock::now() - 1h, now);
  EXPECT_THAT(after(200ms), ElementsAre(code));
  watch.know({code}, CodeWatch::FileTime::clock::now() - 1h, now);
  EXPECT_THAT(after(10s), IsEmpty()) << "that is known by now";
}

TEST_F(CodeWatchTest, AFileFromTheFutureIsNotYoungForEver) {
  fs::last_write_time(code, CodeWatch::FileTime::clock::now() + 1h);
  watch.know({code}, CodeWatch::FileTime::clock::now() - 1h, now);
  EXPECT_THAT(after(10s), IsEmpty());
}

TEST_F(CodeWatchTest, AFolderThatGoesIsWatchedAgainWhenItIsBack) {
  know();
  fs::remove_all(folder);
  EXPECT_THAT(after(1s), IsEmpty());
  EXPECT_THAT(watch.take_warnings(),
              ElementsAre(HasSubstr(folder.string() + " cannot be watched (No such file")));
  EXPECT_THAT(after(1s), IsEmpty());
  EXPECT_THAT(watch.take_warnings(), IsEmpty()) << "once";
  fs::create_directories(folder);
  write(code, "2");
  EXPECT_THAT(after(1s), IsEmpty());
  EXPECT_THAT(after(200ms), ElementsAre(code));
  write(code, "3");
  EXPECT_THAT(after(200ms), ElementsAre(code));
}

TEST_F(CodeWatchTest, AFolderThatIsReplacedIsNotTakenForTheOldOne) {
  know();
  const fs::path old = folder.string() + ".old";
  fs::rename(folder, old);
  fs::create_directories(folder);
  write(code, "2");
  EXPECT_THAT(after(200ms), ElementsAre(code)) << "the system tells of that at once";
  write(old / "code.py", "3");
  EXPECT_THAT(after(10s), IsEmpty());
  fs::remove_all(old);
}

TEST_F(CodeWatchTest, ALinkThatIsTurnedToANewDeploymentIsFollowed) {
  const fs::path one = folder / "one", two = folder / "two", current = folder / "current";
  for (const fs::path& each : {one, two}) fs::create_directories(each);
  write(one / "app.py", "1");
  write(two / "app.py", "2");
  fs::create_directory_symlink(one, current);
  const std::string app = (current / "app.py").string();
  watch.know({app}, CodeWatch::FileTime::clock::now() + 1h, now);
  EXPECT_THAT(after(1s), IsEmpty());
  fs::create_directory_symlink(two, folder / "next");
  fs::rename(folder / "next", current);
  EXPECT_THAT(after(1s), IsEmpty());
  EXPECT_THAT(after(200ms), ElementsAre(app));
}

#ifdef LAIR_FAILPOINTS
TEST_F(CodeWatchTest, WhatTheSystemRefusesIsSaidAndTriedAgain) {
  using os::failpoint::Point;
  for (const auto& [point, error, remedy] :
       {std::tuple(Point::kInotify, EMFILE, "raise fs.inotify.max_user_instances"),
        std::tuple(Point::kInotifyAdd, ENOSPC, "raise fs.inotify.max_user_watches")}) {
    watch = CodeWatch();
    os::failpoint::arm(os::failpoint::Process::kHost, point, {.error = error, .times = 2});
    know();
    EXPECT_THAT(watch.take_warnings(), ElementsAre(HasSubstr(remedy)));
    EXPECT_THAT(after(1s), IsEmpty());
    EXPECT_THAT(watch.take_warnings(), IsEmpty()) << "once";
    write(code, std::string("unseen ") + remedy);
    EXPECT_THAT(after(1s), IsEmpty());
    EXPECT_THAT(after(200ms), ElementsAre(code))
        << "by the third try it is watched, and what was missed is found";
    os::failpoint::disarm_all();
  }
}
#endif

}  // namespace
}  // namespace lair::pool
