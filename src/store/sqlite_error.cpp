#include "store/sqlite_error.hpp"

#include <sqlite3.h>

#include <cerrno>
#include <system_error>

namespace lair::store {

namespace {

std::string advice(int code, int system) {
  const int primary = code & 0xff;
  if (primary == SQLITE_FULL || system == ENOSPC || system == EDQUOT) {
    return "there is no room left where it lies. Nothing that was stored before is lost; make room, and "
           "changes work again";
  }
  switch (primary) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "it is in use by another program or pool. A store belongs to one pool at a time: end the other, "
             "or give this one a file of its own (session_store)";
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return "it may only be read. Let this user write to the file and its directory, or set session_store "
             "to "
             "a place where it may";
    case SQLITE_CANTOPEN:
      return "this user may not read and write it there, or not make files in its directory. Allow that, or "
             "set "
             "session_store to another place";
    case SQLITE_NOTADB:
      return "it is not a database of SQLite's, or its beginning is damaged. Set session_store to another "
             "path; "
             "or, if it was a session store, restore it from a copy, or move it away to begin anew";
    case SQLITE_CORRUPT:
      return "it is damaged. Restore it from a copy (together with its -wal file, if the copy has one), or "
             "move "
             "both away to begin anew; `sqlite3 FILE .recover` saves what can be read";
    case SQLITE_IOERR:
      return "the disk, or what stands for it, failed. Look at the system's log; when it works again, so do "
             "changes";
    case SQLITE_NOMEM:
      return "there is no memory left. Nothing that was stored before is lost";
    default:
      return "that should not happen; move the file away to begin anew, and please report this";
  }
}

}  // namespace

Error sqlite_error(const std::string& path, const char* doing, int code, int system,
                   const std::string& said) {
  std::string why = advice(code, system) + " (" + said;
  if (system != 0) why += ": " + std::generic_category().message(system);
  return store_error(path, doing, why + "; SQLite code " + std::to_string(code) + ")");
}

Error store_error(const std::string& path, const char* doing, const std::string& why) {
  return {.kind = ErrorKind::kUnavailable,
          .message = "the session store " + path + " cannot " + doing + ": " + why};
}

}  // namespace lair::store
