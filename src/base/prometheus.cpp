#include <lair/prometheus.hpp>

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <lair/version.hpp>
#include <string_view>
#include <utility>
#include <vector>

namespace lair {

namespace {

using Label = std::pair<std::string_view, std::string_view>;

// Not through a stream or printf: their decimal point is the host's locale's.
template <class T>
void append_number(std::string& text, T value) {
  char digits[32];
  const auto [end, error] = std::to_chars(std::begin(digits), std::end(digits), value);
  text.append(digits, end);
}

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

// Bytes that are not UTF-8 can only come from a caller's name for a command. Prometheus would refuse the whole page for
// them, so they are replaced.
std::string valid_utf8(std::string_view text) {
  return Json::parse(Json(text).dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
}

void append_escaped(std::string& text, std::string_view value) {
  for (const char c : value) {
    switch (c) {
      case '\\':
        text += "\\\\";
        break;
      case '"':
        text += "\\\"";
        break;
      case '\n':
        text += "\\n";
        break;
      default:
        text += c;
    }
  }
}

void append_label_value(std::string& text, std::string_view value) {
  const bool ascii = std::ranges::all_of(value, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (ascii) {
    append_escaped(text, value);
  } else {
    append_escaped(text, valid_utf8(value));
  }
}

// Writes one family after the other: HELP and TYPE once, then the samples of all pools.
class Page {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    family_ = name;
    ((((text_ += "# HELP ") += name) += ' ') += help) += '\n';
    ((((text_ += "# TYPE ") += name) += ' ') += type) += '\n';
  }

  template <class T>
  void sample(std::initializer_list<Label> labels, T value) {
    sample_of("", labels, value);
  }

  void histogram(std::initializer_list<Label> labels, const DurationHistogram& histogram) {
    std::vector<Label> with_bound(labels);
    with_bound.emplace_back("le", "+Inf");
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < DurationHistogram::kBounds.size(); ++i) {
      below += histogram.counts[i];
      std::string bound;
      append_number(bound, seconds(DurationHistogram::kBounds[i]));
      with_bound.back().second = bound;
      sample_of("_bucket", with_bound, below);
    }
    with_bound.back().second = "+Inf";
    sample_of("_bucket", with_bound, histogram.count);
    sample_of("_sum", labels, seconds(histogram.sum));
    sample_of("_count", labels, histogram.count);
  }

  std::string take() { return std::move(text_); }

 private:
  template <class Labels, class T>
  void sample_of(std::string_view suffix, const Labels& labels, T value) {
    (text_ += family_) += suffix;
    char separator = '{';
    for (const auto& [name, label] : labels) {
      ((text_ += separator) += name) += "=\"";
      append_label_value(text_, label);
      text_ += '"';
      separator = ',';
    }
    text_ += "} ";
    append_number(text_, value);
    text_ += '\n';
  }

  std::string text_;
  std::string_view family_;
};

void add(PoolStats& sum, const PoolStats& other) {
  for (std::size_t i = 0; i < kSlotStates; ++i) sum.slots[i] += other.slots[i];
  sum.size += other.size;
  sum.waiters += other.waiters;
  sum.oldest_wait = std::max(sum.oldest_wait, other.oldest_wait);
  sum.inflight += other.inflight;
  sum.leases_leaked += other.leases_leaked;
  sum.slow_calls += other.slow_calls;
  for (const CommandStats& theirs : other.commands) {
    const auto ours = std::find_if(sum.commands.begin(), sum.commands.end(),
                                   [&](const CommandStats& command) { return command.name == theirs.name; });
    if (ours == sum.commands.end()) {
      sum.commands.push_back(theirs);
      continue;
    }
    for (std::size_t i = 0; i < kCallOutcomes; ++i) ours->calls[i].add(theirs.calls[i]);
  }
  sum.checkout_wait.add(other.checkout_wait);
  sum.worker_start.add(other.worker_start);
  for (const auto& [reason, count] : other.rejected) sum.rejected[reason] += count;
  for (const auto& [reason, count] : other.exits) sum.exits[reason] += count;
  sum.code_fails = sum.code_fails || other.code_fails;
  sum.workers.insert(sum.workers.end(), other.workers.begin(), other.workers.end());
  for (const BreakerStats& breaker : other.breakers) {
    const auto same = std::find_if(sum.breakers.begin(), sum.breakers.end(),
                                   [&](const BreakerStats& each) { return each.command == breaker.command; });
    if (same == sum.breakers.end()) {
      sum.breakers.push_back(breaker);
    } else if (same->state == BreakerState::kClosed) {  // the one that refuses is the one to know
      same->state = breaker.state;
    }
  }
  sum.sessions.open += other.sessions.open;
  sum.sessions.opened += other.sessions.opened;
  sum.sessions.ended += other.sessions.ended;
  sum.sessions.expired += other.sessions.expired;
  for (const auto& [cause, count] : other.sessions.lost) sum.sessions.lost[cause] += count;
  sum.sessions.hits += other.sessions.hits;
  sum.sessions.spills += other.sessions.spills;
  sum.sessions.moves += other.sessions.moves;
  sum.sessions.stored_bytes += other.sessions.stored_bytes;
  sum.busy_time += other.busy_time;
  sum.exhausted_time += other.exhausted_time;
  sum.below_size_time += other.below_size_time;
}

std::vector<PoolStats> one_for_each_name(std::span<const PoolStats> pools) {
  std::vector<PoolStats> sums;
  for (const PoolStats& pool : pools) {
    const auto same =
        std::find_if(sums.begin(), sums.end(), [&](const PoolStats& sum) { return sum.name == pool.name; });
    if (same == sums.end()) {
      sums.push_back(pool);
    } else {
      add(*same, pool);
    }
  }
  return sums;
}

void write_calls(Page& page, const std::vector<PoolStats>& pools) {
  // `each(pool, command, outcome, histogram)` for all that has happened at least once.
  const auto for_each = [&](const auto& each) {
    for (const PoolStats& pool : pools) {
      for (const CommandStats& command : pool.commands) {
        for (std::size_t i = 0; i < kCallOutcomes; ++i) {
          if (command.calls[i].count == 0) continue;
          const Label labels[] = {{"pool", pool.name},
                                  {"command", command.name},
                                  {"outcome", to_string(static_cast<CallOutcome>(i))}};
          each(labels, command.calls[i]);
        }
      }
    }
  };
  page.family("lair_calls_total", "counter", "Calls that have ended.");
  for_each([&](const auto& l, const DurationHistogram& calls) {
    page.sample({l[0], l[1], l[2]}, calls.count);
  });
  page.family("lair_call_duration_seconds", "histogram",
              "Time from a call's begin to its end, waiting included.");
  for_each([&](const auto& l, const DurationHistogram& calls) { page.histogram({l[0], l[1], l[2]}, calls); });
}

void write_sessions(Page& page, const std::vector<PoolStats>& pools) {
  const auto each_pool = [&](std::string_view name, std::string_view type, std::string_view help,
                             std::uint64_t SessionStats::*member) {
    page.family(name, type, help);
    for (const PoolStats& pool : pools) page.sample({{"pool", pool.name}}, pool.sessions.*member);
  };
  using S = SessionStats;
  each_pool("lair_sessions", "gauge", "Sessions that there are.", &S::open);
  each_pool("lair_sessions_opened_total", "counter", "Sessions that were opened.", &S::opened);
  each_pool("lair_sessions_ended_total", "counter", "Sessions that were ended.", &S::ended);
  each_pool("lair_sessions_expired_total", "counter", "Sessions that nobody used for their time to live.",
            &S::expired);
  page.family("lair_sessions_lost_total", "counter", "Sessions whose worker ended with their state.");
  for (const PoolStats& pool : pools) {
    for (const auto& [cause, count] : pool.sessions.lost) {
      page.sample({{"pool", pool.name}, {"cause", cause}}, count);
    }
  }
  each_pool("lair_session_hits_total", "counter", "Calls of sessions that had the worker of the call before.",
            &S::hits);
  each_pool("lair_session_spills_total", "counter",
            "Calls of sessions whose worker was busy: they took another.", &S::spills);
  each_pool("lair_session_moves_total", "counter", "Calls of sessions whose worker had ended.", &S::moves);
  each_pool("lair_session_stored_bytes", "gauge", "Keys and values that sessions have stored.",
            &S::stored_bytes);
}

}  // namespace

std::string to_prometheus(std::span<const PoolStats> given) {
  const std::vector<PoolStats> pools = one_for_each_name(given);
  Page page;
  const auto each_pool = [&](std::string_view name, std::string_view type, std::string_view help,
                             const auto& value) {
    page.family(name, type, help);
    for (const PoolStats& pool : pools) page.sample({{"pool", pool.name}}, value(pool));
  };
  const auto each_reason = [&](std::string_view name, std::string_view help, const auto& counts) {
    page.family(name, "counter", help);
    for (const PoolStats& pool : pools) {
      for (const auto& [reason, count] : counts(pool)) {
        page.sample({{"pool", pool.name}, {"reason", reason}}, count);
      }
    }
  };
  const auto each_histogram = [&](std::string_view name, std::string_view help, const auto& histogram) {
    page.family(name, "histogram", help);
    for (const PoolStats& pool : pools) page.histogram({{"pool", pool.name}}, histogram(pool));
  };
  using S = PoolStats;

  page.family("lair_workers", "gauge", "Places for workers, by the state they are in.");
  for (const PoolStats& pool : pools) {
    for (std::size_t i = 0; i < kSlotStates; ++i) {
      page.sample({{"pool", pool.name}, {"state", to_string(static_cast<SlotState>(i))}}, pool.slots[i]);
    }
  }
  each_pool("lair_pool_size", "gauge", "Workers that the pool keeps.", [](const S& s) { return s.size; });
  each_pool("lair_waiters", "gauge", "Callers that wait for a worker.", [](const S& s) { return s.waiters; });
  each_pool("lair_oldest_wait_seconds", "gauge", "How long the longest of them has waited.",
            [](const S& s) { return seconds(s.oldest_wait); });
  each_pool("lair_calls_inflight", "gauge", "Calls that have begun and not ended.",
            [](const S& s) { return s.inflight; });
  write_calls(page, pools);
  page.family("lair_breaker_state", "gauge",
              "Whether a command is refused: 0 no, 1 yes, 2 but for trial calls.");
  for (const PoolStats& pool : pools) {
    for (const BreakerStats& breaker : pool.breakers) {
      page.sample({{"pool", pool.name}, {"command", breaker.command}},
                  static_cast<std::uint64_t>(breaker.state));
    }
  }
  each_pool("lair_pool_code_fails", "gauge", "1 while no worker starts with the newest code.",
            [](const S& s) { return std::uint64_t{s.code_fails}; });
  each_pool("lair_worker_private_bytes", "gauge",
            "Memory that workers share with nobody, added up; 0 if it is not looked at.", [](const S& s) {
              std::uint64_t bytes = 0;
              for (const WorkerStats& worker : s.workers) bytes += worker.memory;
              return bytes;
            });
  each_histogram("lair_checkout_wait_seconds", "Wait for a worker, of callers that got one.",
                 [](const S& s) { return s.checkout_wait; });
  each_reason("lair_rejected_total", "Callers that got no worker.", [](const S& s) { return s.rejected; });
  each_histogram("lair_worker_start_seconds", "Time from a worker's start until it was ready.",
                 [](const S& s) { return s.worker_start; });
  each_reason("lair_worker_exits_total", "Workers that have ended, and starts that came to nothing.",
              [](const S& s) { return s.exits; });
  each_pool("lair_worker_busy_seconds_total", "counter", "Time that workers were busy, added up.",
            [](const S& s) { return seconds(s.busy_time); });
  each_pool("lair_pool_exhausted_seconds_total", "counter",
            "Time during which somebody waited and no worker was idle.",
            [](const S& s) { return seconds(s.exhausted_time); });
  each_pool("lair_pool_below_size_seconds_total", "counter",
            "Time during which fewer workers were ready than the pool keeps.",
            [](const S& s) { return seconds(s.below_size_time); });
  write_sessions(page, pools);
  each_pool("lair_leases_leaked_total", "counter", "Leases that were held longer than lease_warning.",
            [](const S& s) { return s.leases_leaked; });
  each_pool("lair_slow_calls_total", "counter", "Calls that a worker was at for longer than slow_call.",
            [](const S& s) { return s.slow_calls; });
  page.family("lair_build_info", "gauge", "Always 1; the version of Lair is a label.");
  for (const PoolStats& pool : pools) {
    page.sample({{"pool", pool.name}, {"version", LAIR_VERSION_STRING}}, 1);
  }
  return page.take();
}

std::string to_prometheus(const PoolStats& pool) { return to_prometheus(std::span(&pool, 1)); }

}  // namespace lair
