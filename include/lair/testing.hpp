// FakeEndpoint: an Endpoint without Python, for the tests of programs that use Lair. It gives the replies that a test has
// scripted, breaks as real workers do, and has a time of its own, so that no test sleeps.
//
//   lair::FakeEndpoint python;
//   python.on("count_words", fake::returns(6));
//   python.on("scale", fake::computes([](double x, double by) { return x * by; }));
//   python.on("flaky", fake::fails(ErrorKind::kWorkerLost), fake::returns(7));     // one after another; the last one stays
//   python.on("slow", fake::returns(1).after(50ms));
//   python.on("stuck", fake::hangs());                                             // until its deadline, or cancelled
//   python.on("rows", fake::yields({1, 2}).pause(10ms).yields({3}).raises("ValueError", "row 4 is torn"));
//   python.on("load", fake::with("a.csv"), fake::raises("OSError", "no such file"));   // for these arguments only
//
//   Report report = make_report(python);                // takes an Endpoint&; a Pool in production
//   EXPECT_EQ(python.calls("load").size(), 1u);
//
// A command that is not scripted is kUnknownCommand, with what was called and what there is. docs/testing.md says more.
//
// Thread-safety: FakeEndpoint: any thread, at any time; no function of the test's is called under a lock. The rest: values.
#pragma once

#include <cstdint>
#include <functional>
#include <lair/endpoint.hpp>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace lair {

namespace fake {

// What becomes of a call. A value; `after` and its kin give a longer one.
class Reply {
 public:
  struct Value {
    Json value;  // what the command returns
  };
  struct Item {
    Json value;  // what it yields
  };
  struct Hang {};
  struct Step {
    Duration pause = Duration::zero();  // before it
    std::variant<Value, Item, Error, Hang> what;
  };
  using Function = std::function<Reply(const Json& arguments)>;

  // Begins this much later.
  Reply after(Duration time) const;

  // --- What else a stream does, after what it has done so far ---------------------------------------------------------------
  Reply pause(Duration time) const;
  Reply yields(std::vector<Json> items) const;
  Reply fails(ErrorKind kind) const;
  Reply fails(Error error) const;
  Reply raises(std::string type, std::string message) const;
  Reply hangs() const;

  // --- For the functions below, and FakeEndpoint ----------------------------------------------------------------------------
  static Reply made_of(std::vector<Step> steps, bool stream = false);
  static Reply made_by(Function function);
  const std::vector<Step>& steps() const noexcept { return steps_; }
  const Function& function() const noexcept { return function_; }
  bool stream() const noexcept { return stream_; }
  Duration delay() const noexcept {
    return delay_;
  }  // before the first step; of a stream's end: `last_pause`
  Duration last_pause() const noexcept { return last_pause_; }

 private:
  Reply and_then(Step step) const;

  std::vector<Step> steps_;
  Function function_;  // or this
  bool stream_ = false;
  Duration delay_ = Duration::zero();
  Duration last_pause_ = Duration::zero();  // not yet before any step
};

// The command returns this.
Reply returns(Json value);
// It fails so, with everything that such an error has, and the delivery that it mostly has.
Reply fails(ErrorKind kind);
Reply fails(ErrorKind kind, Delivery delivery);
Reply fails(Error error);
// Python raises: kRemote.
Reply raises(std::string type, std::string message);
// It does not end by itself: its deadline ends it, or its caller cancels it.
Reply hangs();
// It is a generator. Called without `stream`, it returns a list, as Python's do.
Reply yields(std::vector<Json> items);

namespace detail {

Reply wrong_arguments(const std::string& why, const Json& arguments);
// What `function` does; of an exception, the Python one that it stands for.
Reply guarded(const std::function<Reply()>& function);

template <class T>
struct IsResult : std::false_type {};
template <class T>
struct IsResult<Result<T>> : std::true_type {};

template <class Call>
Reply reply_of(Call call) {
  using R = std::remove_cvref_t<decltype(call())>;
  if constexpr (std::is_void_v<R>) {
    call();
    return returns(nullptr);
  } else if constexpr (std::is_same_v<R, Reply>) {
    return call();
  } else if constexpr (IsResult<R>::value) {
    R result = call();
    if (!result) return fails(std::move(result).error());
    if constexpr (std::is_same_v<R, Result<void>>)
      return returns(nullptr);
    else
      return returns(Json(*std::move(result)));
  } else {
    return returns(Json(call()));
  }
}

template <class... Params, std::size_t... I>
std::tuple<Params...> values_of(const Json& arguments, std::index_sequence<I...>) {
  return {arguments[I].template get<Params>()...};
}

template <class F, class R, class... Params>
Reply computed_by(F function, std::function<R(Params...)>*) {
  return Reply::made_by([function = std::move(function)](const Json& arguments) mutable {
    return guarded([&]() -> Reply {
      if constexpr (sizeof...(Params) == 1 && (std::is_same_v<std::remove_cvref_t<Params>, Json> && ...)) {
        return reply_of([&] { return function(arguments); });
      } else {
        if (!arguments.is_array() || arguments.size() != sizeof...(Params)) {
          return wrong_arguments(std::to_string(sizeof...(Params)) + " by position were expected", arguments);
        }
        std::optional<std::tuple<std::remove_cvref_t<Params>...>> values;
        try {
          values.emplace(
              values_of<std::remove_cvref_t<Params>...>(arguments, std::index_sequence_for<Params...>()));
        } catch (const Json::exception& mismatch) {
          return wrong_arguments(mismatch.what(), arguments);
        }
        return reply_of([&] { return std::apply(function, *std::move(values)); });
      }
    });
  });
}

}  // namespace detail

// It does what a function of the test's says, of the call's arguments by position. One that takes a single `const Json&` is
// given all of them, as array or, by keyword, as object. It gives anything that goes into a Json, or nothing, or a Result, or
// a Reply; what it throws (CallError, or any other exception, as if Python had raised it) is the call's error. It is called on
// the thread that makes the call, from several at once if they call at once.
template <class F>
Reply computes(F function) {
  using Signature = decltype(std::function{function});
  return detail::computed_by(std::move(function), static_cast<Signature*>(nullptr));
}

// The arguments that a script is for, as they would be written in the call.
struct Arguments {
  Json json;
};
template <class... Args>
Arguments with(Args&&... args) {
  return {lair::detail::arguments(std::forward<Args>(args)...)};
}

class Core;

}  // namespace fake

// Who moves a FakeEndpoint's time.
enum class FakeTime : std::uint8_t {
  kJumps,  // whoever blocks (`call`, `next`): it jumps to the next thing that happens, until that is what is waited for
  kStands,  // `advance` alone: whoever blocks waits until another thread has called it
};

// A call that was made.
struct FakeCall {
  enum class How : std::uint8_t { kInvoke, kStart, kOpen };

  std::string command = {};
  Json arguments = {};       // an array, or an object of keywords
  CallOptions options = {};  // as given to the endpoint
  How how = How::kInvoke;
  bool scripted = true;
  Duration began = {};  // in fake time
  // When it has ended. A stream ends when its end has been told, or when it is cancelled or destroyed (kCancelled).
  std::optional<Duration> ended = {};
  std::optional<ErrorKind> error = {};  // if it ended badly
};

class FakeEndpoint final : public Endpoint {
 public:
  explicit FakeEndpoint(FakeTime time = FakeTime::kJumps);
  // What is under way ends with kUnavailable, and is told so before this returns.
  ~FakeEndpoint() override;
  FakeEndpoint(const FakeEndpoint&) = delete;
  FakeEndpoint& operator=(const FakeEndpoint&) = delete;

  // Scripts a command, in place of what was scripted for it (and these arguments) before. Several replies are given one after
  // another, and the last of them from then on. Arguments that match go before none.
  template <class... More>
  void on(const std::string& command, fake::Reply first, More... more) {
    script(command, std::nullopt, {std::move(first), std::move(more)...});
  }
  template <class... More>
  void on(const std::string& command, fake::Arguments arguments, fake::Reply first, More... more) {
    script(command, std::move(arguments.json), {std::move(first), std::move(more)...});
  }

  Result<Json> invoke(const CallOptions& options, std::string_view command, Json arguments) override;
  void start(const CallOptions& options, std::string_view command, Json arguments, Completion done) override;
  std::unique_ptr<StreamSource> open(const CallOptions& options, std::string_view command,
                                     Json arguments) override;

  // --- Time: since this was made. Calls without a timeout have Pool's, 60 s -------------------------------------------------
  Duration now() const;
  // Everything that is due by then happens, in order; returns when the completions have run (those without an executor).
  void advance(Duration time);
  // Advances to the next thing that is to happen; false if there is none.
  bool advance_to_next();
  // Waits until all that has happened has been told (to completions without an executor); where time jumps, until all has.
  void settle();

  // --- What has been called -------------------------------------------------------------------------------------------------
  std::vector<FakeCall> calls() const;
  std::vector<FakeCall> calls(std::string_view command) const;
  std::size_t pending() const;  // calls that have begun and not ended
  void forget_calls();

 private:
  void script(const std::string& command, std::optional<Json> arguments, std::vector<fake::Reply> replies);

  std::shared_ptr<fake::Core> core_;
};

}  // namespace lair
