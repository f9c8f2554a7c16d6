// What a client and its programs share: the endpoint, and what is to be sent along where no session keeps it.
//
// Thread-safety: any thread.
#pragma once

#include <lair/endpoint.hpp>
#include <lair/json.hpp>
#include <lair/session.hpp>
#include <memory>
#include <mutex>
#include <optional>

namespace lair::dspy::detail {

struct Connection {
  explicit Connection(std::shared_ptr<Endpoint> to);

  // Of the last `configure`, with its key.
  std::optional<Json> lm() const {
    const std::lock_guard lock(mutex_);
    return lm_;
  }
  void set_lm(Json settings) {
    const std::lock_guard lock(mutex_);
    lm_ = std::move(settings);
  }

  const std::shared_ptr<Endpoint> endpoint;
  Session* const values;  // of the session that its calls belong to; null if there is none
  const bool session;     // whether there is one

 private:
  mutable std::mutex mutex_;
  std::optional<Json> lm_;
};

}  // namespace lair::dspy::detail
