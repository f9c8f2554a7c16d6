// CodeWatch: whether the files that workers have loaded their code from have changed on disk since.
//
// A change counts when the files have been left alone for 200 ms, and only if their content is another: a worker that writes
// one of its own files again when it starts must not be reloaded for ever. Once a second it is looked whether the folders are
// still those that are watched; those that are not are tried again.
//
// Thread-safety: the supervisor's thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <lair/deadline.hpp>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "os/folder_watch.hpp"

namespace lair::pool {

class CodeWatch {
 public:
  using FileTime = std::filesystem::file_time_type;

  // Files that a worker has loaded, or failed to: it was started at `since`, and what is younger it may have missed.
  void know(const std::vector<std::string>& files, FileTime since, TimePoint now);
  // Reads what the system tells. `code_fails`: so a Python file that nobody has loaded yet may be what is missing.
  void take_news(bool code_fails, TimePoint now);
  // The same, and looks after the folders, if it is time for it.
  void look(bool code_fails, TimePoint now);
  // When to call `look` or `changed` next. `may_reload`: false while a reload goes on, and changes wait for its end.
  TimePoint next(bool may_reload) const;
  // The files that have changed, when they have been left alone for long enough. Each change is told once.
  std::vector<std::string> changed(TimePoint now);
  // What cannot be watched, and why, and what to do about it: since the last time.
  std::vector<std::string> take_warnings() { return std::exchange(warnings_, {}); }
  // To be polled; -1 where there is nothing.
  int fd() const { return folders_.fd(); }

 private:
  // Tells two contents from each other; of what is not there: the last one.
  struct Print {
    std::uintmax_t size = 0;
    std::size_t hash = 0;
    FileTime written = {};  // counts for large files only

    bool operator==(const Print& other) const = default;
  };
  static std::optional<Print> print_of(const std::string& file);
  void suspect(const std::string& file, TimePoint now);
  void watch(const std::string& folder);
  void handle(const os::FolderWatch::News& news, bool code_fails, TimePoint now);

  os::FolderWatch folders_;
  std::map<std::string, Print> files_;
  std::set<std::string> wanted_;    // folders
  std::set<std::string> suspects_;  // files that may have changed
  TimePoint quiet_at_ = TimePoint::max();
  TimePoint look_at_ = TimePoint::max();
  std::set<std::string> warned_;
  std::vector<std::string> warnings_;
};

}  // namespace lair::pool
