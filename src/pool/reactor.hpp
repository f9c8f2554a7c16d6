// Reactor: one thread that drives the calls that do not block their callers, and all calls where workers have several at a time.
// It is started when the first such call is made, and waits for all their channels at once. While it waits, a thread that begins
// a call takes it as far as its worker itself (mailbox.hpp says whose turn it is); what comes back is the reactor's, but for the
// items of a stream whose consumer waits for them (stream_handle.hpp).
//
// A call goes the way of one that blocks (course.hpp): through the queue, where the core tells the reactor in place of a sleeping
// thread; then over a Line, which is a worker's channel while at least one of its calls is here; to its completion. A call that
// is cancelled or late is over for its caller at once, and keeps its worker until that has given it up, or must be ended.
//
// Thread-safety: `start`, `open`, `call`, `post`, `worker_ended`: any thread. The rest is for whoever has the turn; user code
// is run by its own thread alone.
#pragma once

#include <atomic>
#include <lair/endpoint.hpp>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "os/poller.hpp"
#include "pool/async_call.hpp"
#include "pool/host_thread.hpp"
#include "pool/line.hpp"
#include "pool/mailbox.hpp"
#include "pool/shell.hpp"

namespace lair::pool {

class Reactor final : public Parker::Listener {
 public:
  explicit Reactor(Shell& shell);
  ~Reactor();  // the pool must have shut down: every call ends now
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  void start(const CallOptions& options, std::string_view command, const Json& arguments, Completion done,
             Bound bound = {});
  std::unique_ptr<StreamSource> open(const CallOptions& options, std::string_view command,
                                     const Json& arguments, Bound bound = {});
  // Blocks; what the call calls back is run on the calling thread.
  Result<Json> call(const CallOptions& options, std::string_view command, const Json& arguments,
                    const Bound& bound = {});

  void post(core::Token token, Parker::Notice notice) override;
  // Some worker has been reaped: errors that tell of its end can be completed.
  void worker_ended();
  bool is_this_thread() const { return mailbox_->read_here(); }

  // Catches and logs what it throws.
  void run_user_code(OnceFunction<void()> code);

 private:
  friend class StreamHandle;

  void run();
  void begin(std::unique_ptr<AsyncCall> call);
  // From any thread: begins it there, or has the reactor do so. False: the pool has gone.
  static bool bring(Reactor& reactor, std::unique_ptr<AsyncCall> call);
  void finish_begun();
  TimePoint next_alarm(TimePoint now) const;
  void set_out(AsyncCall& call, const CallOptions& options, std::string_view command, const Json& arguments,
               const Bound& bound);

  static std::stop_source bind(AsyncCall& call, const std::stop_token& stop,
                               std::shared_ptr<HeldWorker> held);

  // --- The steps of a call -------------------------------------------------------------------------
  void enter(AsyncCall& call);
  void begin_held(AsyncCall& call);
  void told(core::Token token, const Parker::Notice& notice);
  void give_up(AsyncCall& call);
  void left_queue(AsyncCall& call, const Result<Hold>& hold);
  void send(AsyncCall& call);
  void attempted(AsyncCall& call, Attempt attempt);
  void ended(AsyncCall& call, Try outcome);
  void finish(AsyncCall& call, Result<Json> result);
  void tell(AsyncCall& call, Result<Json> result);

  void on_timer(AsyncCall& call);
  void stop(std::uint64_t key);
  void abandon(AsyncCall& call, worker::Channel::Failure why);
  void ring(AsyncCall& call);
  void describe(AsyncCall& call);

  // --- What its worker says ------------------------------------------------------------------------
  void on_line(std::uint64_t tag, bool again = false);
  void said(Line& line, std::string_view payload);
  void decode_elsewhere(Line& line, std::string_view payload);
  void decoded(std::uint64_t tag, wire::Addressed addressed);
  void hear(Line& line, wire::Addressed addressed);
  // Something that it has been told is decoded elsewhere, or what it has told the store is still under way behind its last frame:
  // until that is known it is neither late nor cancelled.
  bool is_heard_elsewhere(const AsyncCall& call);
  void said(Line& line, AsyncCall& call, wire::Reply reply);
  void conclude(AsyncCall& call, wire::Reply reply);
  bool serve_arrays(Line& line, AsyncCall& call, const wire::Callback& asked);
  void lost(std::uint64_t tag, const worker::Channel::NoReply& end);
  void lost(AsyncCall& call, const worker::Channel::NoReply& end);
  // True: it was the last one, and the channel is of no use any more.
  bool leave(AsyncCall& call, bool well);
  void flush_lines();
  void lose_refused();
  void give_back(AsyncCall& call, Verdict verdict);
  void serve(Line& line, AsyncCall& call, wire::Callback asked);
  void served(std::uint64_t key, unsigned attempt, std::uint64_t number, const Result<Json>& result);
  void tell_store(AsyncCall& call, wire::Callback told);
  void stored(std::uint64_t key, unsigned attempt);
  void credit(std::uint64_t key, wire::CallHeader::Credit more);

  // --- The consumer of a stream that waits for its worker itself: stream_handle.cpp ------------------
  // Where it waits in the reactor's place.
  struct Post {
    int fd = -1;
    std::shared_ptr<os::EventFd> bell;
    Duration spin;  // how long it pays to look there before sleeping
  };
  std::optional<Post> lend(std::uint64_t key);
  // What has come there. False: there is something, or the reactor sees to it.
  bool read_lent(std::uint64_t key, StreamBuffer& buffer);
  void take_back(std::uint64_t key);
  Line* lent_line(std::uint64_t key);  // null: the call's line is not lent
  // After a turn that was not its own thread's: whether that must be woken for what has come of it.
  bool is_wanted() const;

  void read_mail();
  AsyncCall* find(std::uint64_t key);
  Line* line_of(const AsyncCall& call);
  void arm(AsyncCall& call, TimePoint due);
  void forget(AsyncCall& call);

  Shell& shell_;
  const std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
  os::Poller poller_;
  HostThread host_thread_;
  HostThread store_thread_;  // what runs on the other may wait for a call that uses the store
  HostThread decoder_;       // of what is long
  std::uint64_t last_key_ = 0;
  std::unordered_map<std::uint64_t, std::unique_ptr<AsyncCall>> calls_;  // by key
  std::unordered_map<core::Token, std::uint64_t> queued_;                // keys
  std::unordered_map<std::uint64_t, std::unique_ptr<Line>> lines_;       // by tag
  std::vector<std::uint64_t> unflushed_;                                 // tags of lines, some perhaps twice
  std::vector<std::uint64_t> refused_;                    // likewise: to which nothing can be written
  std::set<std::pair<TimePoint, std::uint64_t>> timers_;  // keys
  std::set<std::uint64_t> ending_;                        // keys of calls whose worker's end is to be told
  std::vector<Mailbox::Message> messages_;                // scratch
  // Of calls that have ended where they were begun, by key: no user code runs there.
  std::vector<std::pair<std::uint64_t, Result<Json>>> ended_at_once_;
  std::vector<std::shared_ptr<os::EventFd>> spare_bells_;  // one may be rung once more, for nothing
  TimePoint alarm_ = TimePoint::min();  // until when the reactor waits, unless something comes
  bool closing_ = false;                // the pool is down
  std::thread thread_;
};

}  // namespace lair::pool
