#include "store/sqlite_store.hpp"

#include <algorithm>
#include <future>
#include <system_error>
#include <utility>

#include "store/checks.hpp"
#include "store/sqlite_error.hpp"

namespace lair::store {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

// --- Opening and closing ---------------------------------------------------------------------------

SqliteStore::SqliteStore(std::unique_ptr<SqliteFile> file, Config config)
    : config_(std::move(config)), file_(std::move(file)), queue_(std::max<std::size_t>(config_.queue, 1)) {}

Result<std::unique_ptr<SqliteStore>> SqliteStore::open(const std::string& path, Config config) {
  auto file = SqliteFile::open(path, config.opening);
  if (!file) return std::move(file).error();
  std::unique_ptr<SqliteStore> store(new SqliteStore(*std::move(file), std::move(config)));
  if (auto done = store->load(); !done) return std::move(done).error();
  try {
    store->thread_ = store->config_.start_thread([raw = store.get()] { raw->run(); });
  } catch (const std::system_error& error) {
    return store_error(store->file_->path(), "be opened",
                       std::string("its thread could not be started (") + error.what() +
                           "); the process, its user or the machine has too many");
  }
  return store;
}

Result<void> SqliteStore::load() {
  auto sessions = file_->sessions();
  if (!sessions) return std::move(sessions).error();
  const TimePoint now = config_.now();
  const std::int64_t wall = wall_ms(now);
  for (SqliteFile::Session& one : *sessions) {
    SessionFacts facts = {.bytes = one.bytes, .stored_ms = one.expires_ms};
    constexpr std::int64_t kMost = duration_cast<milliseconds>(kForever).count();
    if (one.expires_ms <= wall) {
      facts.expires = now;
    } else if (one.expires_ms - wall < kMost) {
      facts.expires = Deadline::after(milliseconds(one.expires_ms - wall), now).when();
    }
    index_.load(std::move(one.id), facts);
  }
  // Their time ran out while the file was closed. Where they cannot be dropped (no room, say), that is no reason not to
  // open: the next sweep tries again.
  Request expired = {
      .changes = true, .work = [&] { return drop_expired(now); }, .answer = [](const auto&) {}};
  Request* requests[] = {&expired};
  commit(requests);
  return {};
}

SqliteStore::~SqliteStore() {
  queue_.close();
  if (thread_.joinable()) thread_.join();
}

// --- Callers ---------------------------------------------------------------------------------------

Result<Reply> SqliteStore::ask(bool changes, std::function<Result<Reply>()> work) {
  const std::string path = file_->path();  // now: when this is refused or answered, the store may be gone
  // Shared with the answer: the caller may be gone as soon as it is set.
  const auto promise = std::make_shared<std::promise<Result<Reply>>>();
  std::future<Result<Reply>> reply = promise->get_future();
  const bool accepted =
      queue_.push({.changes = changes, .work = std::move(work), .answer = [promise](Result<Reply> answer) {
                     promise->set_value(std::move(answer));
                   }});
  if (!accepted) return store_error(path, "be used", "it is being closed, with its pool");
  return reply.get();
}

Result<std::optional<Json>> SqliteStore::get(const std::string& session, const std::string& key) {
  if (auto error = bad_key(session, key, config_.limits)) return *std::move(error);
  const std::string where = "the session store " + file_->path();  // now, for the same reason
  auto reply = ask(false, [&]() -> Result<Reply> {
    auto text = file_->value(session, key);
    if (!text) return std::move(text).error();
    return Reply{.text = *std::move(text)};
  });
  if (!reply) return std::move(reply).error();
  if (!reply->text) return std::optional<Json>{};
  return decode_value(session, key, *reply->text, where);
}

Result<std::vector<std::string>> SqliteStore::keys(const std::string& session, std::string_view prefix) {
  auto reply = ask(false, [&]() -> Result<Reply> {
    auto names = file_->keys(session, prefix);
    if (!names) return std::move(names).error();
    return Reply{.names = *std::move(names)};
  });
  if (!reply) return std::move(reply).error();
  return std::move(reply->names);
}

Result<bool> SqliteStore::ask_change(Change change) {
  auto reply = ask(true, [&] { return this->change(change); });
  if (!reply) return std::move(reply).error();
  return reply->yes;
}

Result<void> SqliteStore::put(const std::string& session, const std::string& key, const Json& value) {
  if (auto error = bad_key(session, key, config_.limits)) return *std::move(error);
  auto text = encode_value(session, key, value, config_.limits);
  if (!text) return std::move(text).error();
  auto done = ask_change({.session = session, .key = key, .expected = {}, .value = *std::move(text)});
  if (!done) return std::move(done).error();
  return {};
}

Result<bool> SqliteStore::erase(const std::string& session, const std::string& key) {
  if (auto error = bad_key(session, key, config_.limits)) return *std::move(error);
  return ask_change({.session = session, .key = key, .expected = {}, .value = {}});
}

Result<bool> SqliteStore::compare_and_set(const std::string& session, const std::string& key,
                                          const std::optional<Json>& expected,
                                          const std::optional<Json>& value) {
  if (auto error = bad_key(session, key, config_.limits)) return *std::move(error);
  Change change = {.session = session, .key = key, .expected = Text(), .value = {}};
  for (const bool is_new : {false, true}) {
    const std::optional<Json>& given = is_new ? value : expected;
    if (!given) continue;
    auto text = encode_value(session, key, *given, config_.limits);
    if (!text) return std::move(text).error();
    (is_new ? change.value : *change.expected) = *std::move(text);
  }
  return ask_change(std::move(change));
}

Result<void> SqliteStore::drop(const std::string& session) {
  auto reply = ask(true, [&] { return drop(session, index_.look(session)); });
  if (!reply) return std::move(reply).error();
  return {};
}

Result<std::vector<std::string>> SqliteStore::sweep() {
  auto reply = ask(true, [&] { return drop_expired(config_.now()); });
  if (!reply) return std::move(reply).error();
  return std::move(reply->names);
}

std::int64_t SqliteStore::wall_ms(TimePoint when) const {
  if (when == TimePoint::max()) return SqliteFile::kNever;
  const auto wall = duration_cast<milliseconds>(config_.wall_now().time_since_epoch());
  return wall.count() + duration_cast<milliseconds>(when - config_.now()).count();
}

Result<void> SqliteStore::touch(const std::string& session, Duration ttl) {
  const TimePoint expires = Deadline::after(ttl, config_.now()).when();
  const auto slack = std::clamp<Duration>(ttl / 8, Duration::zero(), std::chrono::minutes(1));
  std::optional<Error> failure;  // of an earlier note; that of this touch may be there at any moment
  {
    const std::lock_guard lock(note_mutex_);
    failure = note_failure_;
  }
  if (index_.touch(session, expires, wall_ms(expires),
                   static_cast<std::uint64_t>(duration_cast<milliseconds>(slack).count()))) {
    queue_.poke();
  }
  if (failure) return *std::move(failure);
  return {};
}

// --- The store's thread ----------------------------------------------------------------------------

void SqliteStore::run() {
  std::vector<Request> batch;
  while (queue_.take(batch)) serve(batch);
}

void SqliteStore::serve(std::vector<Request>& batch) {
  std::vector<Request*> changing;
  // All of these callers wait, so nothing orders their requests: those that just read need not wait for the disk.
  for (Request& request : batch) {
    if (request.changes) {
      changing.push_back(&request);
    } else {
      request.answer(request.work());
    }
  }
  Request notes;
  if (std::vector<std::string> due = index_.take_due(); !due.empty()) {
    notes = {.changes = true,
             .work = [this, due = std::move(due)] { return note_expiries(due); },
             .answer =
                 [this](const Result<Reply>& reply) {
                   const std::lock_guard lock(note_mutex_);
                   note_failure_ = reply ? std::nullopt : std::optional(reply.error());
                 }};
    changing.push_back(&notes);
  }
  if (!changing.empty()) commit(changing);
}

void SqliteStore::commit(std::span<Request*> requests) {
  std::vector<Result<Reply>> replies;
  const Result<void> done = try_commit(requests, replies);
  if (done) {
    for (std::size_t i = 0; i < requests.size(); ++i) requests[i]->answer(std::move(replies[i]));
  } else if (requests.size() == 1) {
    requests[0]->answer(done.error());
  } else {
    for (Request*& request : requests) commit({&request, 1});
  }
}

Result<void> SqliteStore::try_commit(std::span<Request*> requests, std::vector<Result<Reply>>& replies) {
  const auto attempt = [&]() -> Result<void> {
    if (auto done = file_->begin(); !done) return done;
    for (Request* request : requests) {
      auto reply = request->work();
      // A refusal has changed nothing; a failure may have left half of a change.
      if (!reply && reply.error().kind != ErrorKind::kInvalidArgument) return std::move(reply).error();
      replies.push_back(std::move(reply));
    }
    if (auto done = save_sessions(); !done) return done;
    return file_->commit();
  };
  auto done = attempt();
  if (done) {
    index_.publish(changes_);
  } else {
    file_->rollback();
  }
  changes_.clear();
  return done;
}

SessionChange& SqliteStore::changed(const std::string& session) {
  const auto [at, is_new] = changes_.try_emplace(session);
  if (is_new) at->second.bytes = index_.look(session).bytes;
  return at->second;
}

Result<void> SqliteStore::save_sessions() {
  for (auto& [session, change] : changes_) {
    const SessionFacts facts = index_.look(session);
    if (change.bytes == 0) {
      if (!facts.stored_ms) continue;
      if (auto done = file_->forget(session); !done) return done;
      continue;
    }
    const bool anew = change.dropped_at && *change.dropped_at == facts.touches;
    change.stored_ms = anew ? SqliteFile::kNever : wall_ms(facts.expires);
    if (auto done = file_->save({session, *change.stored_ms, change.bytes}); !done) return done;
  }
  return {};
}

Result<Reply> SqliteStore::change(const Change& change) {
  const auto& [session, key, expected, value] = change;
  auto old = file_->value(session, key);
  if (!old) return std::move(old).error();
  if (expected && *expected != *old) return Reply{.yes = false};
  const bool was_there = old->has_value();
  const Reply reply = {.yes = expected ? true : was_there};
  if (!value && !was_there) return reply;

  const std::uint64_t has = changed(session).bytes;
  const std::uint64_t goes = was_there ? key.size() + (*old)->size() : 0;
  // Less than what goes is what a file says that something else has written to.
  const std::uint64_t would = std::max(has, goes) - goes + (value ? key.size() + value->size() : 0);
  if (value && !fits(has, would, config_.limits))
    return session_full(session, key, has, would, config_.limits);
  auto done = value ? file_->put(session, key, *value) : file_->erase(session, key);
  if (!done) return std::move(done).error();
  changed(session).bytes = would;
  return reply;
}

Result<Reply> SqliteStore::drop(const std::string& session, const SessionFacts& facts) {
  SessionChange& change = changed(session);
  if (change.bytes > 0) {
    if (auto done = file_->erase_all(session); !done) return std::move(done).error();
  }
  change = {.bytes = 0, .dropped_at = facts.touches};
  return Reply{};
}

Result<Reply> SqliteStore::drop_expired(TimePoint now) {
  Reply reply;
  for (std::string& session : index_.expired(now)) {
    const SessionFacts facts = index_.look(session);
    if (facts.expires > now) continue;  // touched a moment ago
    if (auto done = drop(session, facts); !done) return done;
    reply.names.push_back(std::move(session));
  }
  return reply;
}

Result<Reply> SqliteStore::note_expiries(const std::vector<std::string>& sessions) {
  for (const std::string& session : sessions) (void)changed(session);
  return Reply{};
}

}  // namespace lair::store
