#include "pool/stream_handle.hpp"

#include <utility>

#include "pool/attempt.hpp"
#include "pool/reactor.hpp"

namespace lair::pool {

using Stage = AsyncCall::Stage;

// More than that at a time: then it pays to have another thread read and decode while they are used.
static constexpr std::size_t kFew = 8;

StreamSource::Item StreamHandle::next() {
  if (mailbox_->read_here()) return on_own_thread("next()");
  if (auto item = buffer_->next_now()) {
    ++found_;
    return *std::move(item);
  }
  if (std::exchange(found_, 1) <= kFew) wait_at_the_channel();
  return buffer_->next();
}

void StreamHandle::start_next(OnceFunction<void(Item)> done) {
  const std::shared_ptr<StreamBuffer> buffer = buffer_;
  const std::shared_ptr<Mailbox> mailbox = mailbox_;
  buffer->start_next(std::move(done), *mailbox);
}

// Until something has come, or the reactor sees to it. Only the waiting is done without the turn: whatever the reactor does to the
// call meanwhile, because of the time or a request to stop, it does as ever.
void StreamHandle::wait_at_the_channel() {
  std::optional<Reactor::Post> post;
  if (const auto turn = mailbox_->take_turn()) post = reactor_.lend(*key_);
  if (post && !spin_) spin_.emplace(post->spin, post->spin > Duration::zero());
  while (post) {
    buffer_->wait_at(post->fd, post->bell, *spin_);
    auto turn = mailbox_->take_turn();
    if (!turn) {
      mailbox_->post([key = key_, buffer = buffer_](Reactor& reactor) {
        if (reactor.read_lent(*key, *buffer)) reactor.take_back(*key);
      });
      return;
    }
    if (!reactor_.read_lent(*key_, *buffer_)) reactor_.spare_bells_.push_back(std::exchange(post, {})->bell);
    const bool wanted = reactor_.is_wanted();
    turn->unlock();
    if (wanted) mailbox_->wake();
  }
}

// --- The reactor's, for whoever has the turn -----------------------------------------------------------

std::optional<Reactor::Post> Reactor::lend(std::uint64_t key) {
  if (shell_.inert()) return std::nullopt;
  const AsyncCall* call = find(key);
  if (call == nullptr || call->stage != Stage::kOnWorker) return std::nullopt;
  Line& line = *line_of(*call);
  if (line.record().announcement->concurrency > 1 || !line.can_be_lent()) return std::nullopt;
  const Duration spin = line.record().announcement->spins ? shell_.options().spin : Duration::zero();
  Post post{.fd = line.channel().fd(), .bell = {}, .spin = spin};
  if (spare_bells_.empty()) {
    try {
      post.bell = std::make_shared<os::EventFd>();
    } catch (const CallError&) {
      return std::nullopt;
    }
  } else {
    post.bell = std::move(spare_bells_.back());
    spare_bells_.pop_back();
  }
  line.lend();
  return post;
}

bool Reactor::read_lent(std::uint64_t key, StreamBuffer& buffer) {
  if (Line* line = lent_line(key)) on_line(line->tag());
  if (lent_line(key) == nullptr) return false;
  if (buffer.empty()) return true;
  take_back(key);
  return false;
}

void Reactor::take_back(std::uint64_t key) {
  if (Line* line = lent_line(key)) line->take_back();
}

Line* Reactor::lent_line(std::uint64_t key) {
  const AsyncCall* call = find(key);
  if (call == nullptr || call->stage != Stage::kOnWorker) return nullptr;
  Line* line = line_of(*call);
  return line != nullptr && line->lent() ? line : nullptr;
}

bool Reactor::is_wanted() const {
  const bool sooner = !timers_.empty() && timers_.begin()->first < alarm_;
  return sooner || !ended_at_once_.empty() || !unflushed_.empty() || !refused_.empty();
}

}  // namespace lair::pool
