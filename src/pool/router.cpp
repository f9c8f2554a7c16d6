#include "lair/router.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <utility>

namespace lair {

namespace {

constexpr std::uint64_t kWhole = 1'000'000;  // of a share: parts in a million

// FNV-1a, then mixed: the same on every machine and in every version, or a rollout would move its sessions.
std::uint64_t hash(std::string_view text) {
  std::uint64_t sum = 14695981039346656037ull;
  for (const char c : text) sum = (sum ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  sum ^= sum >> 33;
  sum *= 0xff51afd7ed558ccdull;
  return sum ^ (sum >> 33);
}

}  // namespace

struct Router::State {
  struct Side {
    Endpoint* endpoint = nullptr;
    Pool* pool = nullptr;
    RouteStats stats;
  };

  bool second_by_share(std::string_view session_id) const {
    return hash(session_id) % kWhole < share.load(std::memory_order_relaxed);
  }
  // Evenly spread, not by chance: of any hundred calls in a row, as many as the share says.
  bool second_in_turn() {
    const std::uint64_t part = share.load(std::memory_order_relaxed);
    if (part == 0 || part == kWhole) return part != 0;
    const std::uint64_t turn = turns.fetch_add(1, std::memory_order_relaxed) % kWhole;
    return (turn + 1) * part / kWhole > turn * part / kWhole;
  }
  bool is_named(std::string_view command) const {
    const std::lock_guard lock(mutex);
    return std::find(commands.begin(), commands.end(), command) != commands.end();
  }
  bool goes_second(std::string_view command) {
    return (any_commands.load(std::memory_order_relaxed) && is_named(command)) || second_in_turn();
  }

  void ended(bool second, TimePoint began, const Error* error) {
    const Duration took = SteadyClock::now() - began;
    const std::lock_guard lock(mutex);
    RouteStats& stats = sides[second ? 1 : 0].stats;
    ++stats.calls;
    stats.took.add(took);
    if (error == nullptr) {
      ++stats.ok;
    } else {
      ++stats.errors[std::string(to_string(error->kind))];
    }
  }

  mutable std::mutex mutex;
  Side sides[2];
  std::vector<std::string> commands;
  std::atomic<bool> any_commands = false;
  std::atomic<std::uint64_t> share = 0;
  std::atomic<std::uint64_t> turns = 0;
};

namespace {

// Counts a stream when it has ended, however it does.
template <class Ended>
class CountedStream final : public StreamSource {
 public:
  CountedStream(std::unique_ptr<StreamSource> source, Ended ended)
      : source_(std::move(source)), ended_(std::make_shared<Once>(std::move(ended))) {}
  ~CountedStream() override { ended_->end(nullptr); }

  Item next() override {
    Item item = source_->next();
    look(*ended_, item);
    return item;
  }
  void start_next(OnceFunction<void(Item)> done) override {
    source_->start_next([ended = ended_, done = std::move(done)](Item item) mutable {
      look(*ended, item);
      done(std::move(item));
    });
  }

 private:
  struct Once {
    explicit Once(Ended function) : ended(std::move(function)) {}
    void end(const Error* error) {
      if (!over.exchange(true)) ended(error);
    }
    std::atomic<bool> over = false;
    Ended ended;
  };
  static void look(Once& ended, const Item& item) {
    if (!item) {
      ended.end(&item.error());
    } else if (!*item) {
      ended.end(nullptr);
    }
  }

  std::unique_ptr<StreamSource> source_;
  std::shared_ptr<Once> ended_;
};

template <class S>
Result<Json> invoke_on(const std::shared_ptr<S>& state, bool second, Endpoint& endpoint,
                       const CallOptions& options, std::string_view command, Json arguments) {
  const TimePoint began = SteadyClock::now();
  Result<Json> result = endpoint.invoke(options, command, std::move(arguments));
  state->ended(second, began, result ? nullptr : &result.error());
  return result;
}

template <class S>
std::optional<Error> invoke_typed_on(const std::shared_ptr<S>& state, bool second, Endpoint& endpoint,
                                     const CallOptions& options, std::string_view command,
                                     const detail::TypedArguments& arguments, detail::ResultSink& result) {
  const TimePoint began = SteadyClock::now();
  auto failed = endpoint.invoke_typed(options, command, arguments, result);
  state->ended(second, began, failed ? &*failed : nullptr);
  return failed;
}

template <class S>
void start_on(const std::shared_ptr<S>& state, bool second, Endpoint& endpoint, const CallOptions& options,
              std::string_view command, Json arguments, Completion done) {
  endpoint.start(
      options, command, std::move(arguments),
      [state, second, began = SteadyClock::now(), done = std::move(done)](Result<Json> result) mutable {
        state->ended(second, began, result ? nullptr : &result.error());
        done(std::move(result));
      });
}

template <class S>
std::unique_ptr<StreamSource> open_on(const std::shared_ptr<S>& state, bool second, Endpoint& endpoint,
                                      const CallOptions& options, std::string_view command, Json arguments) {
  const auto ended = [state, second, began = SteadyClock::now()](const Error* error) {
    state->ended(second, began, error);
  };
  return std::make_unique<CountedStream<decltype(ended)>>(
      endpoint.open(options, command, std::move(arguments)), ended);
}

Json to_json(const RouteStats& side) {
  return {
      {"calls", side.calls},
      {"ok", side.ok},
      {"errors", side.errors},
      {"took",
       {{"count", side.took.count}, {"sum_seconds", std::chrono::duration<double>(side.took.sum).count()}}}};
}

}  // namespace

Router::Router(Endpoint& first, Endpoint& second) : state_(std::make_shared<State>()) {
  state_->sides[0].endpoint = &first;
  state_->sides[1].endpoint = &second;
}

Router::Router(Pool& first, Pool& second)
    : Router(static_cast<Endpoint&>(first), static_cast<Endpoint&>(second)) {
  state_->sides[0].pool = &first;
  state_->sides[1].pool = &second;
}

Router::~Router() = default;

void Router::share(double percent) {
  if (!(percent >= 0 && percent <= 100)) {
    throw CallError({.kind = ErrorKind::kInvalidArgument,
                     .message = "a router's share is 0 to 100 per cent, not " + std::to_string(percent)});
  }
  state_->share = static_cast<std::uint64_t>(std::llround(percent / 100 * static_cast<double>(kWhole)));
}

void Router::commands(std::vector<std::string> names) {
  const std::lock_guard lock(state_->mutex);
  state_->any_commands = !names.empty();
  state_->commands = std::move(names);
}

void Router::back() {
  state_->share = 0;
  commands({});
}

Result<Json> Router::invoke(const CallOptions& options, std::string_view command, Json arguments) {
  const bool second = state_->goes_second(command);
  return invoke_on(state_, second, *state_->sides[second ? 1 : 0].endpoint, options, command,
                   std::move(arguments));
}

std::optional<Error> Router::invoke_typed(const CallOptions& options, std::string_view command,
                                          const detail::TypedArguments& arguments,
                                          detail::ResultSink& result) {
  const bool second = state_->goes_second(command);
  return invoke_typed_on(state_, second, *state_->sides[second ? 1 : 0].endpoint, options, command, arguments,
                         result);
}

void Router::start(const CallOptions& options, std::string_view command, Json arguments, Completion done) {
  const bool second = state_->goes_second(command);
  start_on(state_, second, *state_->sides[second ? 1 : 0].endpoint, options, command, std::move(arguments),
           std::move(done));
}

std::unique_ptr<StreamSource> Router::open(const CallOptions& options, std::string_view command,
                                           Json arguments) {
  const bool second = state_->goes_second(command);
  return open_on(state_, second, *state_->sides[second ? 1 : 0].endpoint, options, command,
                 std::move(arguments));
}

Result<RoutedSession> Router::try_session(std::string_view id, const SessionOptions& options) {
  if (state_->sides[0].pool == nullptr) {
    return Error{.kind = ErrorKind::kInvalidArgument,
                 .delivery = Delivery::kNotSent,
                 .message = "this router's sides are no pools, which sessions need"};
  }
  // Two that open the same session at once must not find it on neither side, and then open it on both.
  const std::lock_guard lock(state_->mutex);
  bool second = state_->second_by_share(id);
  for (const bool side : {false, true}) {
    if (state_->sides[side ? 1 : 0].pool->find_session(id)) second = side;
  }
  auto session = state_->sides[second ? 1 : 0].pool->try_session(id, options);
  if (!session) return std::move(session).error();
  return RoutedSession(state_, *std::move(session), second);
}

RouterStats Router::stats() const {
  const std::lock_guard lock(state_->mutex);
  return {.percent = static_cast<double>(state_->share.load()) * 100 / static_cast<double>(kWhole),
          .commands = state_->commands,
          .first = state_->sides[0].stats,
          .second = state_->sides[1].stats};
}

void Router::reset_stats() {
  const std::lock_guard lock(state_->mutex);
  for (State::Side& side : state_->sides) side.stats = {};
}

Json to_json_value(const RouterStats& stats) {
  return {{"percent", stats.percent},
          {"commands", stats.commands},
          {"first", to_json(stats.first)},
          {"second", to_json(stats.second)}};
}

Result<Json> RoutedSession::invoke(const CallOptions& options, std::string_view command, Json arguments) {
  return invoke_on(state_, second_, session_, options, command, std::move(arguments));
}

std::optional<Error> RoutedSession::invoke_typed(const CallOptions& options, std::string_view command,
                                                 const detail::TypedArguments& arguments,
                                                 detail::ResultSink& result) {
  return invoke_typed_on(state_, second_, session_, options, command, arguments, result);
}

void RoutedSession::start(const CallOptions& options, std::string_view command, Json arguments,
                          Completion done) {
  start_on(state_, second_, session_, options, command, std::move(arguments), std::move(done));
}

std::unique_ptr<StreamSource> RoutedSession::open(const CallOptions& options, std::string_view command,
                                                  Json arguments) {
  return open_on(state_, second_, session_, options, command, std::move(arguments));
}

}  // namespace lair
