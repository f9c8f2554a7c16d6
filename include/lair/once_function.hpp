// OnceFunction: a callable that is moved, never copied, and called at most once. std::function must be copyable, which what
// a continuation holds (a promise, a handler with its buffers) often is not; std::move_only_function is C++23.
//
// Thread-safety: as the callable's.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

namespace lair {

template <class Signature>
class OnceFunction;

template <class... Args>
class OnceFunction<void(Args...)> {
 public:
  OnceFunction() = default;

  template <class Function>
  requires(!std::same_as<std::remove_cvref_t<Function>, OnceFunction> && std::invocable<Function&, Args...>)
      OnceFunction(Function&& function)  // NOLINT: implicit by design
      : callable_(std::make_unique<Holds<std::decay_t<Function>>>(std::forward<Function>(function))) {}

  explicit operator bool() const noexcept { return callable_ != nullptr; }

  // Empty from then on. Undefined if it already is.
  void operator()(Args... args) {
    const auto callable = std::move(callable_);
    callable->call(std::forward<Args>(args)...);
  }

 private:
  struct Callable {
    Callable() = default;
    Callable(const Callable&) = delete;
    Callable& operator=(const Callable&) = delete;
    virtual ~Callable() = default;
    virtual void call(Args&&... args) = 0;
  };
  template <class Function>
  struct Holds final : Callable {
    template <class F>
    explicit Holds(F&& f) : function(std::forward<F>(f)) {}
    void call(Args&&... args) override { function(std::forward<Args>(args)...); }
    Function function;
  };

  std::unique_ptr<Callable> callable_;
};

}  // namespace lair
