// StreamHandle: a stream's consumer. Destroying it ends the call.
//
// Items come by way of the reactor; but a consumer that blocks waits for the first one, and for those of a slow stream, at its
// worker's channel itself, as a call that blocks does: one thread less is woken for each (docs/adr/0015-reactor.md).
//
// Thread-safety: one thread at a time. It may outlive its pool.
#pragma once

#include <cstdint>
#include <lair/stream.hpp>
#include <memory>
#include <stop_token>

#include "pool/mailbox.hpp"
#include "pool/stream_buffer.hpp"

namespace lair::pool {

class StreamHandle final : public StreamSource {
 public:
  // `key`: where the call's is found, by whoever has the reactor's turn.
  StreamHandle(Reactor& reactor, std::shared_ptr<Mailbox> mailbox, std::shared_ptr<const std::uint64_t> key,
               std::shared_ptr<StreamBuffer> buffer, std::stop_source stop)
      : reactor_(reactor),
        mailbox_(std::move(mailbox)),
        key_(std::move(key)),
        buffer_(std::move(buffer)),
        stop_(std::move(stop)) {}
  ~StreamHandle() override { (void)stop_.request_stop(); }

  Item next() override;
  void start_next(OnceFunction<void(Item)> done) override;

 private:
  void wait_at_the_channel();

  Reactor& reactor_;  // there while one has its turn
  const std::shared_ptr<Mailbox> mailbox_;
  const std::shared_ptr<const std::uint64_t> key_;
  const std::shared_ptr<StreamBuffer> buffer_;
  std::stop_source stop_;
  std::optional<os::Spin> spin_;  // once it has waited at the channel
  std::size_t found_ = 0;         // items that were there since the last wait, and the one that ended it
};

}  // namespace lair::pool
