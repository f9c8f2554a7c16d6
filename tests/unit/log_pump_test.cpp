// A worker's output, line by line, and the last of it kept for error messages.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "worker/log_pump.hpp"

namespace lair::worker {
namespace {

class LogPumpTest : public testing::Test {
 protected:
  LogPumpTest() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    (void)::fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
    pump = LogPump(os::Fd(ends[0]));
    worker = os::Fd(ends[1]);
  }
  void write(const std::string& text) {
    ASSERT_EQ(::write(worker.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  bool pump_all(std::size_t budget = 1u << 30) {
    return pump.pump(budget, [this](std::string_view line) { lines.emplace_back(line); });
  }
  LogPump pump;
  os::Fd worker;
  std::vector<std::string> lines;
};
using Lines = std::vector<std::string>;

TEST_F(LogPumpTest, GivesWholeLinesWithoutTheirNewlines) {
  write("one\ntwo\n\nthree");
  EXPECT_TRUE(pump_all());
  EXPECT_EQ(lines, (Lines{"one", "two", ""}));
}

TEST_F(LogPumpTest, PutsALineTogetherThatCameInPieces) {
  for (const char c : std::string("a line\n")) {
    write(std::string(1, c));
    EXPECT_TRUE(pump_all());
  }
  EXPECT_EQ(lines, (Lines{"a line"}));
}

TEST_F(LogPumpTest, GivesAnUnfinishedLastLineAtTheEnd) {
  write("one\nlast words");
  worker.reset();
  EXPECT_FALSE(pump_all());
  EXPECT_EQ(lines, (Lines{"one", "last words"}));
  EXPECT_FALSE(pump_all()) << "and only once";
  EXPECT_EQ(lines.size(), 2u);
}

TEST_F(LogPumpTest, NothingToReadIsNotTheEnd) {
  EXPECT_TRUE(pump_all());
  EXPECT_TRUE(lines.empty());
}

TEST_F(LogPumpTest, ALongLineComesInPieces) {
  const std::string line(LogPump::kMostLine * 2 + 10, 'x');
  write(line + "\nnext\n");
  EXPECT_TRUE(pump_all());
  EXPECT_EQ(lines, (Lines{std::string(LogPump::kMostLine, 'x'), std::string(LogPump::kMostLine, 'x'),
                          std::string(10, 'x'), "next"}));
}

TEST_F(LogPumpTest, ALineThatNeverEndsIsNotHeldForEver) {
  for (int i = 0; i < 100; ++i) {
    write(std::string(1000, 'x'));
    EXPECT_TRUE(pump_all());
  }
  EXPECT_EQ(lines.size(), 100'000u / LogPump::kMostLine);
}

TEST_F(LogPumpTest, ALineOfExactlyTheLimitIsOneLineHoweverItIsCut) {
  const std::string line(LogPump::kMostLine, 'x');
  for (const std::size_t cut : {std::size_t{1}, line.size() - 1, line.size()}) {
    lines.clear();
    const std::string text = line + "\n";
    write(text.substr(0, cut));
    EXPECT_TRUE(pump_all());
    write(text.substr(cut));
    EXPECT_TRUE(pump_all());
    EXPECT_EQ(lines.size(), 1u) << "cut after " << cut;
  }
}

TEST_F(LogPumpTest, StopsAboutAtItsBudget) {
  const std::string line(99, 'x');
  for (int i = 0; i < 5000; ++i) write(line + "\n");
  EXPECT_TRUE(pump_all(50'000));
  EXPECT_GE(lines.size(), 500u);
  EXPECT_LT(lines.size(), 1000u) << "the others want their turn";
  EXPECT_TRUE(pump_all());
  EXPECT_EQ(lines.size(), 5000u) << "nothing is lost";
}

TEST_F(LogPumpTest, BytesOfAnyKindPass) {
  const std::string odd("\0\xff\r\x1b[31m", 8);
  write(odd + "\n");
  EXPECT_TRUE(pump_all());
  EXPECT_EQ(lines, (Lines{odd}));
}

TEST_F(LogPumpTest, ClosesItsPipe) {
  EXPECT_TRUE(pump);
  pump.close();
  EXPECT_FALSE(pump);
  EXPECT_EQ(pump.fd(), -1);
}

TEST(StderrTail, KeepsTheLastLines) {
  StderrTail tail(3);
  EXPECT_EQ(tail.text(), "");
  for (const char* line : {"a", "b", "c", "d"}) tail.add(line);
  EXPECT_EQ(tail.text(), "b\nc\nd");
}

TEST(StderrTail, OfNoLinesKeepsNone) {
  StderrTail tail(0);
  tail.add("a");
  EXPECT_EQ(tail.text(), "");
}

}  // namespace
}  // namespace lair::worker
