// StopLink: a stop source of one's own that also follows somebody else's token. Who gives an operation the link's token can
// end it for reasons of his own (a coroutine was destroyed, a timer won), and the caller's stop request still ends it, too.
//
// Thread-safety: `source` and `token` give handles that any thread may use; the link itself belongs to one thread at a time. Its
// destruction waits for a stop request that it is just passing on, unless that is made by this thread.
#pragma once

#include <optional>
#include <stop_token>
#include <utility>

namespace lair::detail {

class StopLink {
 public:
  StopLink() = default;
  explicit StopLink(std::stop_token followed) { follow(std::move(followed)); }
  StopLink(const StopLink&) = delete;
  StopLink& operator=(const StopLink&) = delete;

  void follow(std::stop_token followed) {
    if (followed.stop_possible()) following_.emplace(std::move(followed), PassOn{source_});
  }
  void unfollow() { following_.reset(); }

  std::stop_source source() const { return source_; }
  std::stop_token token() const { return source_.get_token(); }

 private:
  struct PassOn {
    std::stop_source source;
    // The request may be what destroys the link, and this with it.
    void operator()() const {
      auto kept = source;
      kept.request_stop();
    }
  };

  std::stop_source source_;
  std::optional<std::stop_callback<PassOn>> following_;
};

}  // namespace lair::detail
