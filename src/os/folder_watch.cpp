#include "os/folder_watch.hpp"

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "os/failpoint.hpp"

namespace lair::os {

using failpoint::Point;

namespace {

// What is only opened, read or removed is no news: code that is not there cannot be loaded.
constexpr std::uint32_t kEvents = IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF;

}  // namespace

bool FolderWatch::add(const std::string& folder) {
  if (watches(folder)) return true;
  if (!fd_) {
    fd_.reset(failpoint::refuses(Point::kInotify) ? -1 : ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!fd_) return false;
  }
  const int watch = failpoint::refuses(Point::kInotifyAdd)
                        ? -1
                        : ::inotify_add_watch(fd_.get(), folder.c_str(), kEvents | IN_ONLYDIR);
  if (watch < 0) return false;
  Watched& watched = folders_[watch];
  struct stat status {};
  if (watched.names.empty() && ::stat(folder.c_str(), &status) == 0) {
    watched.device = status.st_dev;
    watched.inode = status.st_ino;
  }
  watched.names.insert(folder);
  by_name_[folder] = watch;
  return true;
}

void FolderWatch::look(News& news) {
  std::vector<int> stale;
  for (const auto& [watch, watched] : folders_) {
    const auto means_it = [&watched = watched](const std::string& name) {
      struct stat status {};
      return ::stat(name.c_str(), &status) == 0 && status.st_dev == watched.device &&
             status.st_ino == watched.inode;
    };
    if (!std::all_of(watched.names.begin(), watched.names.end(), means_it)) stale.push_back(watch);
  }
  for (const int watch : stale) {
    ::inotify_rm_watch(fd_.get(), watch);
    forget(watch, news);
  }
}

void FolderWatch::forget(int watch, News& news) {
  const auto found = folders_.find(watch);
  if (found == folders_.end()) return;
  for (const std::string& folder : found->second.names) {
    by_name_.erase(folder);
    news.gone.push_back(folder);
  }
  folders_.erase(found);
}

FolderWatch::News FolderWatch::take() {
  News news;
  alignas(inotify_event) char buffer[16 * (sizeof(inotify_event) + NAME_MAX + 1)];
  while (fd_) {
    const ssize_t size = ::read(fd_.get(), buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    for (std::size_t at = 0; at < static_cast<std::size_t>(size);) {
      inotify_event event{};
      std::memcpy(&event, buffer + at, sizeof event);
      const char* name = buffer + at + sizeof event;
      at += sizeof event + event.len;
      if ((event.mask & IN_Q_OVERFLOW) != 0) news.missed = true;
      if ((event.mask & IN_MOVE_SELF) != 0)
        ::inotify_rm_watch(fd_.get(), event.wd);  // its name means another now
      if ((event.mask & (IN_IGNORED | IN_MOVE_SELF)) != 0) forget(event.wd, news);
      const auto found = folders_.find(event.wd);
      if (event.len == 0 || found == folders_.end() || (event.mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) == 0)
        continue;
      for (const std::string& folder : found->second.names) {
        std::string file = folder;
        file.append(folder.ends_with('/') ? "" : "/").append(name);
        if (std::find(news.files.begin(), news.files.end(), file) == news.files.end())
          news.files.push_back(std::move(file));
      }
    }
  }
  return news;
}

}  // namespace lair::os
