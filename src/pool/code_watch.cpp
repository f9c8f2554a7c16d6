#include "pool/code_watch.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <string_view>
#include <utility>

namespace lair::pool {

namespace fs = std::filesystem;

namespace {

constexpr Duration kQuiet = std::chrono::milliseconds(200);
constexpr Duration kLook = std::chrono::seconds(1);
// Larger ones are compiled: that they have been written again is enough.
constexpr std::uintmax_t kMostRead = 4u << 20;

std::string folder_of(const std::string& file) {
  const std::size_t slash = file.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : file.substr(0, slash);
}

}  // namespace

std::optional<CodeWatch::Print> CodeWatch::print_of(const std::string& file) {
  std::error_code none;
  Print print;
  print.size = fs::file_size(file, none);
  if (none) return std::nullopt;
  if (print.size > kMostRead) {
    print.written = fs::last_write_time(file, none);
    return none ? std::nullopt : std::optional(print);
  }
  std::ifstream in(file, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(in), {}};
  if (!in.is_open() || in.bad()) return std::nullopt;
  print.size = content.size();
  print.hash = std::hash<std::string_view>{}(content);
  return print;
}

void CodeWatch::know(const std::vector<std::string>& files, FileTime since, TimePoint now) {
  for (const std::string& file : files) {
    if (files_.count(file) != 0) continue;
    // The folder first: what is written from now on is told.
    const std::string folder = folder_of(file);
    if (wanted_.insert(folder).second) watch(folder);
    files_[file] = print_of(file).value_or(Print{});
    std::error_code none;
    const FileTime written = fs::last_write_time(file, none);
    // Clocks of other machines may be ahead: such a file would be young for ever.
    if (none || written <= since || written > FileTime::clock::now()) continue;
    files_[file] = Print{};
    suspect(file, now);
  }
  if (!wanted_.empty() && look_at_ == TimePoint::max()) look_at_ = now + kLook;
}

void CodeWatch::watch(const std::string& folder) {
  if (folders_.add(folder)) {
    warned_.erase(folder);
    return;
  }
  const int refusal = errno;
  const bool every = folders_.fd() < 0;
  if (!warned_.insert(every ? "" : folder).second) return;
  std::string text = "watch: " + (every ? std::string("no folder") : folder) + " can" + (every ? "" : "not") +
                     " be watched (" + std::strerror(refusal) + "): changes of the code " +
                     (every ? "are" : "there are") + " not noticed";
  if (refusal == EMFILE) text += "; raise fs.inotify.max_user_instances, or the limit of open files";
  if (refusal == ENOSPC) text += "; raise fs.inotify.max_user_watches";
  if (refusal == ENOENT || refusal == ENOTDIR) text += " until it is back";
  warnings_.push_back(std::move(text) + ". It is tried again every second.");
}

void CodeWatch::suspect(const std::string& file, TimePoint now) {
  suspects_.insert(file);
  quiet_at_ = now + kQuiet;
}

void CodeWatch::handle(const os::FolderWatch::News& news, bool code_fails, TimePoint now) {
  for (const std::string& file : news.files) {
    if (files_.count(file) != 0 || (code_fails && file.ends_with(".py"))) suspect(file, now);
  }
  if (news.missed) {
    for (const auto& [file, print] : files_) suspect(file, now);
  }
  for (const std::string& folder : news.gone) watch(folder);  // perhaps there is another already
  for (const auto& [file, print] : files_) {
    if (std::find(news.gone.begin(), news.gone.end(), folder_of(file)) != news.gone.end()) suspect(file, now);
  }
}

void CodeWatch::take_news(bool code_fails, TimePoint now) { handle(folders_.take(), code_fails, now); }

void CodeWatch::look(bool code_fails, TimePoint now) {
  if (look_at_ > now) return;
  look_at_ = now + kLook;
  os::FolderWatch::News news = folders_.take();
  folders_.look(news);
  handle(news, code_fails, now);
  for (const std::string& folder : wanted_) {
    if (folders_.watches(folder)) continue;
    watch(folder);
    if (!folders_.watches(folder)) continue;
    for (const auto& [file, print] : files_) {  // nobody has seen what happened in it
      if (folder_of(file) == folder) suspect(file, now);
    }
  }
}

TimePoint CodeWatch::next(bool may_reload) const {
  return may_reload ? std::min(look_at_, quiet_at_) : look_at_;
}

std::vector<std::string> CodeWatch::changed(TimePoint now) {
  std::vector<std::string> found;
  if (quiet_at_ > now) return found;
  quiet_at_ = TimePoint::max();
  for (const std::string& file : std::exchange(suspects_, {})) {
    const auto print = print_of(file);
    if (!print) continue;  // it will be back, or is not needed any more
    Print& last = files_[file];
    if (*print == last) continue;
    last = *print;
    found.push_back(file);
  }
  return found;
}

}  // namespace lair::pool
