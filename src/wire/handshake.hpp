// The handshake: the first exchange on every channel, always JSON, always id 0.
//
// Thread-safety: pure functions.
#pragma once

#include <cstdint>
#include <lair/deadline.hpp>
#include <lair/json.hpp>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "wire/limits.hpp"

namespace lair::wire {

enum class Protocol : std::uint8_t { kOne = 1, kTwo = 2 };

struct Command {
  std::string name;
  std::string kind;
  std::string doc;
  Json params = Json::array();
};

// What a worker announced of itself. Shared by all that call it; never changed.
struct Announcement {
  Protocol protocol = Protocol::kOne;
  std::uint32_t concurrency = 1;
  std::size_t max_frame = kDefaultMaxFrame;  // of what the worker is willing to read
  bool packs = false;                        // it reads MessagePack, too
  bool cancels = false;                      // it takes CANCEL, and proves that a call has ended
  bool streams = false;                      // it may be asked for a stream
  bool batches = false;                      // it takes BATCH
  bool spins = false;                        // it looks for calls before it sleeps, as the offer has asked
  int journal_fd = -1;                       // there: what it has done of a batch and not told yet; -1: none
  int handover_fd = -1;                      // there: the page where small frames change hands; -1: none
  int cancel_signal = 0;                     // tells it that a CANCEL has come; 0: it has none
  int stack_signal = 0;                      // has it write its threads' stacks to stderr; 0: it has none
  // Has it append its threads' stacks to a file in its memory, and that file's descriptor there. 0: it has none.
  struct Stacks {
    int signal = 0;
    int fd = -1;
  } stacks;
  std::string python;                        // its version; empty if it isn't one, or does not say
  bool arrays = false;                       // takes and gives them in shared memory
  std::vector<Command> commands;             // protocol 2 only
  std::set<std::string, std::less<>> names;  // theirs

  bool knows(std::string_view command) const;
};

// A start that the worker itself declared failed.
struct StartError {
  std::string stage;  // environment or warm_up
  bool permanent = false;
  std::string type;
  std::string message;
  std::string traceback;
  std::vector<std::string> files = {};  // of its code, if the offer has asked for them
};

struct Malformed {
  std::string problem;
};

struct Offer {
  std::string worker_id;
  std::uint64_t generation = 0;
  std::size_t max_frame = kDefaultMaxFrame;
  std::uint32_t concurrency = 1;  // calls that it may have in flight
  Duration spin = {};             // it may look for a frame for so long before it sleeps
  bool files = false;             // it is to say which files its code is in
};

std::string encode_offer(const Offer& offer);

// Reads the reply to the offer, which was of that `concurrency`.
std::variant<Announcement, StartError, Malformed> decode_handshake(std::string_view payload,
                                                                   std::uint32_t concurrency = 1);

// The `files` of a READY, or of a start that failed; those that are none are left out.
std::vector<std::string> files_of(const Json& said);

// ISO 8601, UTC, microseconds: the timestamp of protocol 1.
std::string timestamp();

}  // namespace lair::wire
