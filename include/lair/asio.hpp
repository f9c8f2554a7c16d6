// Calls as asynchronous operations of Boost.Asio (1.81 or newer), on every Endpoint. Only this header needs Boost.
//
//   namespace net = boost::asio;
//   int n  = co_await lair::asio::call<int>(pool, "count_words", text)(net::use_awaitable);          // throws CallError
//   auto r = co_await lair::asio::try_call<int>(pool, {.timeout = 50ms}, "f", text)(net::use_awaitable);   // Result<int>
//   while (auto row = co_await lair::asio::next(stream)(net::use_awaitable)) use(*row);              // try_next: Result
//   lair::asio::call<int>(pool, "f", text)(net::bind_executor(strand, [](std::exception_ptr error, int n) { ... }));
//   co_await (lair::asio::call<int>(pool, "f")(net::use_awaitable) || timer.async_wait(net::use_awaitable));
//
// Each makes an operation, which is initiated when it is called with a completion token, any of Asio's. (Boost 1.81 cannot
// await those of `call` and `next` without one: `R(std::exception_ptr, T)` is broken there.)
//
// Signatures: call<R>: void(std::exception_ptr, R), so R has a default constructor; call<void>: void(std::exception_ptr);
// try_call<R>: void(Result<R>); next: void(std::exception_ptr, std::optional<T>); try_next: void(Result<std::optional<T>>).
// (Asio's own co_spawn and `||` want results with a default constructor, which Result has not: there, take `call`.)
//
// The handler runs on its associated executor, and its results are decoded there; until then the executor has work. A handler
// without one runs where `CallOptions::executor` says, or else on a thread of the endpoint's, which it must not hold up.
// Never from within the initiation. Arguments are encoded, and options copied, at once; the endpoint, or the stream, must live
// until the operation has been initiated.
//
// Cancellation slots: terminal and partial cancellation end the call with kCancelled, and total cancellation does for calls that
// are marked `idempotent`: that of others may have had effects. A cancelled `next` cancels its stream. When an execution context is
// destroyed, the calls that would have completed there are cancelled, and their handlers are destroyed, as Asio's own are.
//
// docs/async.md has the whole picture. Thread-safety: values; each is initiated once.
#pragma once

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/system_executor.hpp>
#include <concepts>
#include <exception>
#include <lair/endpoint.hpp>
#include <lair/stop_link.hpp>
#include <lair/stream.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_set>
#include <utility>

namespace lair::asio {

namespace detail {

namespace boost_asio = ::boost::asio;

// The operations that will complete in one execution context. An endpoint's thread brings outcomes at its own time, perhaps
// when the context is no more: so whether there is still a context, and posting to it, are one step under a lock.
class Outstanding {
 public:
  struct Operation {
    virtual ~Operation() = default;
    virtual void abandon() noexcept = 0;  // the context is going
  };

  // False if the context has gone: then nothing must be initiated.
  bool add(std::shared_ptr<Operation> operation) {
    const std::lock_guard lock(mutex_);
    if (!closed_) operations_.insert(std::move(operation));
    return !closed_;
  }
  // Has `post` called, unless the context has gone.
  template <class Post>
  void finish(const std::shared_ptr<Operation>& operation, Post post) {
    const std::lock_guard lock(mutex_);
    if (operations_.erase(operation) != 0) post();
  }
  void close() noexcept {
    std::unordered_set<std::shared_ptr<Operation>> left;
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
      left.swap(operations_);
    }
    for (const auto& operation : left) operation->abandon();
  }

 private:
  std::mutex mutex_;
  bool closed_ = false;
  std::unordered_set<std::shared_ptr<Operation>> operations_;
};

class OutstandingService final : public boost_asio::execution_context::service {
 public:
  inline static boost_asio::execution_context::id id;
  explicit OutstandingService(boost_asio::execution_context& context)
      : boost_asio::execution_context::service(context) {}
  const std::shared_ptr<Outstanding>& outstanding() const noexcept { return outstanding_; }

 private:
  void shutdown() override { outstanding_->close(); }
  std::shared_ptr<Outstanding> outstanding_ = std::make_shared<Outstanding>();
};

// One operation, from its initiation to its handler. `Finish` calls the handler with what it makes of the outcome.
template <class Outcome, class Finish, class Handler>
class Operation final : public Outstanding::Operation,
                        public std::enable_shared_from_this<Operation<Outcome, Finish, Handler>> {
  using Executor = boost_asio::associated_executor_t<Handler>;
  using Slot = boost_asio::associated_cancellation_slot_t<Handler>;

 public:
  // A handler that has an executor is posted there; another one just called, wherever the outcome comes.
  static constexpr bool kPosts = !std::is_same_v<Executor, boost_asio::system_executor>;

  Operation(Handler handler, Finish finish) : parts_(std::in_place, std::move(handler), std::move(finish)) {}

  lair::detail::StopLink& link() noexcept { return link_; }
  const Slot& slot() const noexcept { return parts_->slot; }

  // False if the handler's context has gone, and the handler with it.
  bool enlist() {
    if constexpr (kPosts) {
      auto& context = boost_asio::query(parts_->work.get_executor(), boost_asio::execution::context);
      outstanding_ = boost_asio::use_service<OutstandingService>(context).outstanding();
      if (!outstanding_->add(this->shared_from_this())) {
        parts_.reset();
        return false;
      }
    }
    return true;
  }

  void complete(Outcome outcome) {
    link_.unfollow();
    if constexpr (kPosts) {
      outstanding_->finish(this->shared_from_this(), [&] {
        const Executor executor = parts_->work.get_executor();
        const auto allocator = boost_asio::get_associated_allocator(parts_->handler);
        boost_asio::post(executor,
                         boost_asio::bind_allocator(allocator, Call{take_parts(), std::move(outcome)}));
      });
    } else {
      Call{take_parts(), std::move(outcome)}();
    }
  }

  void abandon() noexcept override {
    const auto parts = take_parts();
    link_.source().request_stop();
  }

 private:
  struct Parts {
    Parts(Handler given, Finish how)
        : handler(std::move(given)),
          finish(std::move(how)),
          work(boost_asio::get_associated_executor(handler)),
          slot(boost_asio::get_associated_cancellation_slot(handler)) {}
    Handler handler;
    Finish finish;
    boost_asio::executor_work_guard<Executor> work;
    Slot slot;
  };

  struct Call {
    Parts parts;
    Outcome outcome;
    void operator()() {
      if (parts.slot.is_connected()) parts.slot.clear();
      parts.finish(std::move(parts.handler), std::move(outcome));
    }
  };

  Parts take_parts() {
    Parts taken = *std::move(parts_);
    parts_.reset();
    return taken;
  }

  std::optional<Parts> parts_;
  std::shared_ptr<Outstanding> outstanding_;
  lair::detail::StopLink link_;
};

// What a cancellation slot calls.
struct Cancel {
  Cancel(std::stop_source of, boost_asio::cancellation_type types) : stop(std::move(of)), honoured(types) {}
  std::stop_source stop;
  boost_asio::cancellation_type honoured;
  void operator()(boost_asio::cancellation_type type) {
    if ((type & honoured) == boost_asio::cancellation_type::none) return;
    const auto kept = stop;
    kept.request_stop();
  }
};

inline constexpr auto kWithEffects =
    boost_asio::cancellation_type::terminal | boost_asio::cancellation_type::partial;

template <class Handler, class Value>
void succeed_or_throw(Handler handler, auto get) {
  std::exception_ptr error;
  if constexpr (std::is_void_v<Value>) {
    try {
      get().value();
    } catch (...) {
      error = std::current_exception();
    }
    std::move(handler)(std::move(error));
  } else {
    Value value = Value();
    try {
      value = get().value();
    } catch (...) {
      error = std::current_exception();
    }
    std::move(handler)(std::move(error), std::move(value));
  }
}

template <class T, bool kThrows>
struct Signature {
  using Type = void(Result<T>);
};
template <class T>
struct Signature<T, true> {
  static_assert(std::default_initializable<T>,
                "what call<R> hands over beside an exception is an R(): give R a default constructor, or use "
                "try_call<R>");
  using Type = void(std::exception_ptr, T);
};
template <>
struct Signature<void, true> {
  using Type = void(std::exception_ptr);
};

// Asio asks operations whether they take things that are no token.
struct InitiateNothing {
  void operator()(auto&&) const {}
};
template <class Token, class Signature>
concept TokenFor = requires(Token&& token) {
  boost_asio::async_initiate<Token, Signature>(InitiateNothing{}, token);
};

// Decodes an outcome by `Decode`, and calls the handler.
template <class T, bool kThrows, class Decode>
struct Finish {
  Decode decode;
  template <class Handler, class Outcome>
  void operator()(Handler handler, Outcome outcome) {
    if constexpr (kThrows) {
      succeed_or_throw<Handler, T>(std::move(handler), [&] { return decode(std::move(outcome)); });
    } else {
      auto result = decode(std::move(outcome));
      std::move(handler)(std::move(result));
    }
  }
};

}  // namespace detail

// A call that waits for its completion token.
template <class R, bool kThrows>
class [[nodiscard]] CallOperation {
  using Signature = typename detail::Signature<R, kThrows>::Type;

 public:
  CallOperation(Endpoint& endpoint, CallOptions options, std::string_view command, Json arguments)
      : endpoint_(&endpoint),
        options_(std::move(options)),
        command_(command),
        arguments_(std::move(arguments)) {}

  template <class Token>
      auto operator()(Token&& token) && requires detail::TokenFor<Token, Signature> {
    return boost::asio::async_initiate<Token, Signature>(Initiate{}, token, endpoint_, std::move(options_),
                                                         std::move(command_), std::move(arguments_));
  }

 private:
  struct Decode {
    std::string command;
    std::shared_ptr<lair::detail::TakenArrays> kept = {};  // until they are in the R
    Result<R> operator()(Result<Json> reply) { return lair::detail::result_as<R>(command, std::move(reply)); }
  };

  struct Initiate {
    template <class Handler>
    void operator()(Handler&& handler, Endpoint* endpoint, CallOptions options, std::string command,
                    Json arguments) const {
      using Finish = detail::Finish<R, kThrows, Decode>;
      using Operation = detail::Operation<Result<Json>, Finish, std::decay_t<Handler>>;
      const auto operation = std::make_shared<Operation>(std::forward<Handler>(handler),
                                                         Finish{Decode{command, options.taken_arrays}});
      auto honoured = detail::kWithEffects;
      if (options.idempotent) honoured |= boost::asio::cancellation_type::total;
      if (auto slot = operation->slot(); slot.is_connected()) {
        slot.template emplace<detail::Cancel>(operation->link().source(), honoured);
      }
      if (!operation->enlist()) return;
      operation->link().follow(std::move(options.stop));
      options.stop = operation->link().token();
      if constexpr (Operation::kPosts) options.executor = {};
      endpoint->start(options, command, std::move(arguments),
                      [operation](Result<Json> reply) { operation->complete(std::move(reply)); });
    }
  };

  Endpoint* endpoint_;
  CallOptions options_;
  std::string command_;
  Json arguments_;
};

// The next item of a stream, waiting for its completion token.
template <class T, bool kThrows>
class [[nodiscard]] NextOperation {
  using Signature = typename detail::Signature<std::optional<T>, kThrows>::Type;

 public:
  explicit NextOperation(Stream<T>& stream) : stream_(&stream) {}

  template <class Token>
      auto operator()(Token&& token) && requires detail::TokenFor<Token, Signature> {
    return boost::asio::async_initiate<Token, Signature>(Initiate{}, token, stream_);
  }

 private:
  struct Decode {
    std::string command;
    Result<std::optional<T>> operator()(StreamSource::Item item) {
      return lair::detail::item_as<T>(command, std::move(item));
    }
  };

  struct Initiate {
    template <class Handler>
    void operator()(Handler&& handler, Stream<T>* stream) const {
      using Finish = detail::Finish<std::optional<T>, kThrows, Decode>;
      using Operation = detail::Operation<StreamSource::Item, Finish, std::decay_t<Handler>>;
      const auto operation =
          std::make_shared<Operation>(std::forward<Handler>(handler), Finish{Decode{stream->command()}});
      if (auto slot = operation->slot(); slot.is_connected()) {
        slot.template emplace<detail::Cancel>(stream->stop_source(), detail::kWithEffects);
      }
      if (!operation->enlist()) return;
      stream->source().start_next(
          [operation](StreamSource::Item item) { operation->complete(std::move(item)); });
    }
  };

  Stream<T>* stream_;
};

template <class R = Json, class... Args>
CallOperation<R, true> call(Endpoint& endpoint, const CallOptions& options, std::string_view command,
                            Args&&... args) {
  return {endpoint, lair::detail::options_for<R>(options), command,
          lair::detail::arguments(std::forward<Args>(args)...)};
}
template <class R = Json, std::convertible_to<std::string_view> Command, class... Args>
CallOperation<R, true> call(Endpoint& endpoint, const Command& command, Args&&... args) {
  return asio::call<R>(endpoint, CallOptions{}, command, std::forward<Args>(args)...);
}

template <class R = Json, class... Args>
CallOperation<R, false> try_call(Endpoint& endpoint, const CallOptions& options, std::string_view command,
                                 Args&&... args) {
  return {endpoint, lair::detail::options_for<R>(options), command,
          lair::detail::arguments(std::forward<Args>(args)...)};
}
template <class R = Json, std::convertible_to<std::string_view> Command, class... Args>
CallOperation<R, false> try_call(Endpoint& endpoint, const Command& command, Args&&... args) {
  return asio::try_call<R>(endpoint, CallOptions{}, command, std::forward<Args>(args)...);
}

template <class T>
NextOperation<T, true> next(Stream<T>& stream) {
  return NextOperation<T, true>(stream);
}
template <class T>
NextOperation<T, false> try_next(Stream<T>& stream) {
  return NextOperation<T, false>(stream);
}

}  // namespace lair::asio
