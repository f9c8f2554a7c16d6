// FolderWatch: which files of some folders have been written or replaced (inotify). Folders, not files: an editor writes a new
// file and renames it to the old one's name, which a watch of the old one would not see.
//
// A folder that is removed, or replaced by another of its name, is reported as gone and not watched any more.
//
// Thread-safety: one thread at a time.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "os/fd.hpp"

namespace lair::os {

class FolderWatch {
 public:
  struct News {
    std::vector<std::string> files;  // written, or renamed to this name: folder + '/' + name
    std::vector<std::string> gone;   // folders
    bool missed = false;             // there was more than the system could remember
  };

  // Watches a folder; one that is watched already is left as it is. False, with errno set, where the system refuses: ENOENT or
  // ENOTDIR where there is none, EMFILE where the user has too many such watches open, ENOSPC too many folders.
  [[nodiscard]] bool add(const std::string& folder);
  bool watches(const std::string& folder) const { return by_name_.count(folder) != 0; }
  // What has happened since the last time. Does not block.
  News take();
  // Looks whether each name still means the folder that is watched. The system does not tell of a folder's end while a
  // process is in it, nor of a folder above that is moved away.
  void look(News& news);
  // Readable when there is news; -1 before the first folder.
  int fd() const { return fd_.get(); }

 private:
  struct Watched {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::set<std::string> names;  // two may mean one folder
  };
  void forget(int watch, News& news);

  Fd fd_;
  std::unordered_map<int, Watched> folders_;  // by the system's number
  std::unordered_map<std::string, int> by_name_;
};

}  // namespace lair::os
