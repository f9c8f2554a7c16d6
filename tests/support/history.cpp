#include "support/history.hpp"

#include <stdlib.h>

#include <fstream>

namespace lair::test {

namespace {

// What is wrong with one call that was executed so often.
std::vector<std::string> flaws_of(const Told& told, std::uint32_t times) {
  std::vector<std::string> found;
  const bool answered = told.ok || told.delivery == Delivery::kExecuted;
  const std::string executed = "executed " + std::to_string(times) + " times";
  if (told.outcomes != 1) found.push_back("has " + std::to_string(told.outcomes) + " outcomes");
  if (told.outcomes == 0) return found;
  if (answered && !told.own) found.push_back("was given another's reply");
  if (answered && times == 0) found.push_back("was answered, and never executed");
  if (!answered && told.delivery == Delivery::kNotSent && times > 0) {
    found.push_back("was not sent, and " + executed);
  }
  if (times > told.tries) found.push_back(executed);
  return found;
}

}  // namespace

std::vector<std::string> flaws(const std::vector<Told>& calls, const std::vector<Executed>& executed) {
  std::vector<std::uint32_t> times(calls.size(), 0);
  std::vector<std::string> found;
  for (const Executed& one : executed) {
    if (one.number < times.size()) {
      ++times[one.number];
    } else {
      found.push_back("call " + std::to_string(one.number) + ", which nobody has made, was executed by pid " +
                      std::to_string(one.pid));
    }
  }
  for (std::size_t i = 0; i < calls.size(); ++i) {
    for (const std::string& flaw : flaws_of(calls[i], times[i])) {
      found.push_back("call " + std::to_string(i) + ' ' + flaw);
    }
  }
  return found;
}

History::History(std::size_t room) : calls_(room) {
  std::string pattern = (std::filesystem::temp_directory_path() / "lair-history-XXXXXX").string();
  folder_ = ::mkdtemp(pattern.data());
  std::ofstream(journal_path()).flush();
}

History::~History() { std::filesystem::remove_all(folder_); }

std::optional<std::uint32_t> History::begin() {
  std::uint32_t number = next_;
  while (number < calls_.size()) {
    if (next_.compare_exchange_weak(number, number + 1)) return number;
  }
  return std::nullopt;
}

void History::note(std::uint32_t number, const Told& told) {
  const auto outcomes = static_cast<std::uint8_t>(calls_[number].outcomes + 1);
  calls_[number] = told;
  calls_[number].outcomes = outcomes;
}

std::vector<Told> History::calls() const {
  return {calls_.begin(), calls_.begin() + static_cast<std::ptrdiff_t>(next_.load())};
}

std::vector<Executed> History::executed() const {
  static_assert(sizeof(Executed) == 8);  // divides a page: no entry lies on two
  std::ifstream file(journal_path(), std::ios::binary);
  std::vector<Executed> found;
  Executed one;
  while (file.read(reinterpret_cast<char*>(&one), sizeof one)) found.push_back(one);
  if (file.gcount() != 0) found.push_back({.number = UINT32_MAX, .pid = 0});
  return found;
}

Told told_by(const Result<Json>& result, std::uint32_t number, const std::string& padding) {
  if (result) return {.ok = true, .own = *result == Json::array({number, padding})};
  const Error& error = result.error();
  // Only what is asked to raises, and says whose it is.
  const bool own = error.python && error.python->message == "call " + std::to_string(number) + '.';
  return {.own = own, .delivery = error.delivery, .kind = error.kind};
}

}  // namespace lair::test
