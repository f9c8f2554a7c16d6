#include <lair/session_options.hpp>

#include <iterator>

#include "base/assert.hpp"
#include "base/wall_time.hpp"

namespace lair {

namespace {
constexpr const char* kAffinities[] = {"prefer", "strict", "exclusive"};
}  // namespace

const char* to_string(Affinity affinity) noexcept {
  LAIR_ASSERT(static_cast<std::size_t>(affinity) < std::size(kAffinities));
  return kAffinities[static_cast<std::size_t>(affinity)];
}

std::optional<Affinity> parse_affinity(std::string_view text) noexcept {
  for (std::size_t i = 0; i < std::size(kAffinities); ++i) {
    if (text == kAffinities[i]) return static_cast<Affinity>(i);
  }
  return std::nullopt;
}

Json to_json_value(const SessionInfo& session) {
  Json value = {{"id", session.id},
                {"number", session.number},
                {"affinity", to_string(session.affinity)},
                {"open", session.open},
                {"lost", session.lost},
                {"created", base::utc_text(session.created)},
                {"last_used", base::utc_text(session.last_used)},
                {"calls", session.calls},
                {"hits", session.hits},
                {"spills", session.spills},
                {"moves", session.moves},
                {"stored_bytes", session.stored_bytes}};
  if (!session.cause.empty()) value["cause"] = session.cause;
  if (session.worker) {
    value["slot"] = session.worker->slot;
    value["generation"] = session.worker->generation;
  }
  return value;
}

}  // namespace lair
