// HostFunctions: what this program lets workers call (pool.expose), and the thread-local truth about calls within calls.
//
// Each call that a host function makes belongs to the call that it serves: it ends by the same deadline, and knows which
// workers wait for it to end (its chain), so that it never waits for itself.
//
// Thread-safety: all members, from any thread.
#pragma once

#include <functional>
#include <lair/deadline.hpp>
#include <lair/expose.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.hpp"
#include "pool/session_book.hpp"
#include "wire/message.hpp"

namespace lair::pool {

// The call that a host function serves, and those above it.
struct CallContext {
  struct Link {
    std::uint64_t pool = 0;  // its serial
    core::Epoch epoch = 0;   // of the hold
    std::uint32_t permits = 1;
    std::string worker = {};  // "text 0.1"
  };
  std::vector<Link> chain = {};
  Deadline deadline = Deadline::never();
  std::string traceparent = {};
  SessionPtr session = {};  // of the call that is served: the last one of the chain

  // Of this thread, while it runs a host function; else null.
  static const CallContext* current();
  // As JSON, for the wire.
  std::string encoded() const;
};

class HostFunctions {
 public:
  // An empty one takes the name away.
  void expose(std::string name, HostFunction function);
  bool empty() const;
  // What is asked of the store, in place of a function: names that begin with `kStorePrefix`. Set once, before any call.
  static constexpr std::string_view kStorePrefix = "lair.session.";
  using StoreDesk =
      std::function<Result<Json>(std::string_view what, const Json& arguments, const CallContext&)>;
  void serve_store(StoreDesk desk) { store_desk_ = std::move(desk); }
  // The store is told something, and whoever says so does not wait for an answer.
  static bool is_told(const wire::Callback& asked) {
    return asked.number == 0 && asked.name.starts_with(kStorePrefix);
  }
  // Runs it on this thread, which serves the call `context` meanwhile. Never throws.
  Result<Json> call(const std::string& name, Json arguments, const CallContext& context) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const HostFunction>, std::less<>> functions_;
  StoreDesk store_desk_;
};

}  // namespace lair::pool
