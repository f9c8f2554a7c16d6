#include "store/memory_store.hpp"
#include "store/session_store.hpp"
#include "store/sqlite_store.hpp"

namespace lair::store {

Result<std::unique_ptr<SessionStore>> open_store(const std::string& path, const Limits& limits) {
  if (path.empty()) return std::unique_ptr<SessionStore>(std::make_unique<MemoryStore>(limits));
  auto store = SqliteStore::open(path, {.limits = limits});
  if (!store) return std::move(store).error();
  return std::unique_ptr<SessionStore>(*std::move(store));
}

}  // namespace lair::store
