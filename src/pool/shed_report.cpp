#include "pool/shed_report.hpp"

#include <algorithm>

namespace lair::pool {

namespace {
constexpr Duration kInterval = std::chrono::seconds(1);
}

bool ShedReport::refused(Rejection why, TimePoint now) {
  const bool overload =
      why == Rejection::kQueueFull || why == Rejection::kShed || why == Rejection::kCheckoutTimeout;
  if (!overload) return false;
  ++counts_[static_cast<std::size_t>(why)];
  if (due_ != TimePoint::max()) return false;
  due_ = std::max(now, last_ + kInterval);
  return true;
}

std::optional<ShedReport::Told> ShedReport::take(TimePoint now, bool all) {
  if (due_ == TimePoint::max() || (due_ > now && !all)) return std::nullopt;
  Told told;
  std::string reasons;
  for (std::size_t i = 0; i < kRejections; ++i) {
    const auto why = static_cast<Rejection>(i);
    if (counts_[i] == 0) continue;
    if (counts_[i] > counts_[static_cast<std::size_t>(told.most)]) told.most = why;
    told.count += counts_[i];
    reasons += (reasons.empty() ? "" : ", ") + std::string(to_string(why)) + ' ' + std::to_string(counts_[i]);
  }
  told.message = "is overloaded: " + std::to_string(told.count) +
                 (told.count == 1 ? " caller was" : " callers were") + " refused (" + reasons + ")";
  counts_ = {};
  due_ = TimePoint::max();
  last_ = now;
  return told;
}

}  // namespace lair::pool
