// Router: one endpoint over two, for a change of workers that is made little by little: an old script and a new one, two
// revisions, two interpreters.
//
//   lair::Router router(old_pool, new_pool);
//   router.share(1);                          // one call in a hundred, one session in a hundred, goes to the second
//   router.commands({"count_words"});         // and all calls of these commands
//   router.stats().second.errors;             // how it fares
//   router.back();                            // everything to the first again
//
// A session stays on the side where it was opened until it ends, whatever is changed meanwhile; which side that is
// follows from its id, so the same ids are chosen as the share grows, and those that were chosen before stay so.
// A session's calls all go to its side: `commands` is for calls without a session.
//
// Thread-safety: any number of threads. It owns neither side; both must outlive it, and every call made through it.
#pragma once

#include <array>
#include <cstdint>
#include <lair/duration_histogram.hpp>
#include <lair/endpoint.hpp>
#include <lair/pool.hpp>
#include <lair/session.hpp>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lair {

// One side's calls since the router was made, or `reset_stats`.
struct RouteStats {
  std::uint64_t calls = 0;  // that have ended; streams count as one call
  std::uint64_t ok = 0;
  std::map<std::string, std::uint64_t, std::less<>> errors = {};  // by kind: "remote", "deadline_exceeded"
  DurationHistogram took = {};                                    // all of them
};
struct RouterStats {
  double percent = 0;
  std::vector<std::string> commands = {};
  RouteStats first = {};
  RouteStats second = {};
};
Json to_json_value(const RouterStats& stats);

class RoutedSession;

class Router final : public Endpoint {
 public:
  Router(Pool& first, Pool& second);
  // Without sessions: for a Router over Routers, remote endpoints or fakes.
  Router(Endpoint& first, Endpoint& second);
  ~Router() override;
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  // --- Who goes where. Each holds for the calls and sessions that begin afterwards ------------------------------------------
  // 0 to 100, fractions too; anything else throws CallError (kInvalidArgument).
  void share(double percent);
  // Calls of these go to the second side, whatever the share. In place of those named before.
  void commands(std::vector<std::string> names);
  // Share 0 and no commands. Sessions that live on the second side stay there until they end.
  void back();

  Result<Json> invoke(const CallOptions& options, std::string_view command, Json arguments) override;
  std::optional<Error> invoke_typed(const CallOptions& options, std::string_view command,
                                    const detail::TypedArguments& arguments,
                                    detail::ResultSink& result) override;
  void start(const CallOptions& options, std::string_view command, Json arguments, Completion done) override;
  std::unique_ptr<StreamSource> open(const CallOptions& options, std::string_view command,
                                     Json arguments) override;

  // As Pool's, on the side where it is already, or else on that of its share. kInvalidArgument for sides that are no pools.
  Result<RoutedSession> try_session(std::string_view id, const SessionOptions& options = {});
  RoutedSession session(std::string_view id, const SessionOptions& options = {});

  RouterStats stats() const;
  void reset_stats();

 private:
  friend class RoutedSession;
  struct State;
  std::shared_ptr<State> state_;
};

// A session, whose calls count in its router's statistics.
class RoutedSession final : public Endpoint {
 public:
  // For its values, its end and what else there is of it. Calls made on it directly are not counted.
  Session& session() { return session_; }
  bool on_second() const { return second_; }

  Result<Json> invoke(const CallOptions& options, std::string_view command, Json arguments) override;
  std::optional<Error> invoke_typed(const CallOptions& options, std::string_view command,
                                    const detail::TypedArguments& arguments,
                                    detail::ResultSink& result) override;
  void start(const CallOptions& options, std::string_view command, Json arguments, Completion done) override;
  std::unique_ptr<StreamSource> open(const CallOptions& options, std::string_view command,
                                     Json arguments) override;

 private:
  friend class Router;
  RoutedSession(std::shared_ptr<Router::State> state, Session session, bool second)
      : state_(std::move(state)), session_(std::move(session)), second_(second) {}

  std::shared_ptr<Router::State> state_;
  Session session_;
  bool second_;
};

inline RoutedSession Router::session(std::string_view id, const SessionOptions& options) {
  return try_session(id, options).value();
}

}  // namespace lair
