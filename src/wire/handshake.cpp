#include "wire/handshake.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <utility>

#include "wire/json_codec.hpp"

namespace lair::wire {

namespace {

// Standard commands are not announced, but every Lair worker has them.
bool is_standard(std::string_view name) {
  return name == "ping" || name == "get_stats" || name == "cleanup" || name == "cleanup_session" ||
         name == "reset_state" || name == "shutdown";
}

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool flag_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

// The others mean something else to somebody.
bool is_real_time_signal(const Json& value) {
  return value.is_number_unsigned() && value >= 34u && value <= 64u;
}
// The kernel's own limit (fs.nr_open) is lower.
constexpr unsigned kLargestFd = 0x7fff'ffff;

std::variant<Announcement, StartError, Malformed> decode_choice(const Json& lair, Announcement announcement,
                                                                std::uint32_t offered) {
  if (!lair.is_object()) return Malformed{"result.lair is not an object"};
  if (lair.value("version", Json()) != Json(kProtocolVersion)) {
    return Malformed{"the worker chose protocol version " + lair.value("version", Json()).dump() +
                     "; 2 was offered"};
  }
  const Json codec = lair.value("codec", Json("json"));
  announcement.packs = codec == Json("msgpack");
  if (!announcement.packs && codec != Json("json")) {
    return Malformed{"the worker chose the codec " + printable(codec.dump()) +
                     "; msgpack and json were offered"};
  }
  announcement.protocol = Protocol::kTwo;
  if (const auto limit = lair.find("max_frame"); limit != lair.end()) {
    if (!limit->is_number_unsigned() || *limit == Json(0)) {
      return Malformed{"result.lair.max_frame is not a number of bytes: " + printable(limit->dump())};
    }
    announcement.max_frame = limit->get<std::size_t>();
  }
  if (const auto permits = lair.find("concurrency"); permits != lair.end()) {
    const bool fits = permits->is_number_unsigned() && *permits >= 1 && *permits <= offered;
    if (!fits) {
      return Malformed{"the worker asks for a concurrency of " + permits->dump() + "; " +
                       std::to_string(offered) + " was offered"};
    }
    announcement.concurrency = permits->get<std::uint32_t>();
  }
  if (const auto features = lair.find("features"); features != lair.end() && features->is_array()) {
    const auto has = [&](const char* name) {
      return std::find(features->begin(), features->end(), Json(name)) != features->end();
    };
    announcement.cancels = has("cancel");
    announcement.streams = has("stream");
    announcement.batches = has("batch");
    announcement.arrays = has("arrays");
    announcement.spins = has("spin");
  }
  for (const auto& [name, fd] :
       {std::pair("journal", &announcement.journal_fd), std::pair("handover", &announcement.handover_fd)}) {
    const auto announced = lair.find(name);
    if (announced == lair.end()) continue;
    if (!announced->is_number_unsigned() || *announced < 3u || *announced > kLargestFd)
      return Malformed{"result.lair." + std::string(name) +
                       " is not a descriptor: " + printable(announced->dump())};
    *fd = announced->get<int>();
  }
  if (const auto signal = lair.find("cancel_signal"); signal != lair.end()) {
    if (!is_real_time_signal(*signal))
      return Malformed{"result.lair.cancel_signal is not a real-time signal: " + printable(signal->dump())};
    announcement.cancel_signal = signal->get<int>();
  }
  if (const auto signal = lair.find("stack_signal"); signal != lair.end()) {
    if (!is_real_time_signal(*signal))
      return Malformed{"result.lair.stack_signal is not a real-time signal: " + printable(signal->dump())};
    announcement.stack_signal = signal->get<int>();
  }
  if (const auto stacks = lair.find("stacks"); stacks != lair.end()) {
    const Json signal = stacks->is_object() ? stacks->value("signal", Json()) : Json();
    const Json fd = stacks->is_object() ? stacks->value("fd", Json()) : Json();
    if (!is_real_time_signal(signal) || !fd.is_number_unsigned() || fd < 3u || fd > kLargestFd) {
      return Malformed{"result.lair.stacks is not a real-time signal and a descriptor: " +
                       printable(stacks->dump())};
    }
    announcement.stacks = {.signal = signal.get<int>(), .fd = fd.get<int>()};
  }
  const auto commands = lair.find("commands");
  if (commands == lair.end() || !commands->is_array())
    return Malformed{"result.lair.commands is not an array"};
  for (const Json& command : *commands) {
    if (!command.is_object() || text_of(command, "name").empty()) {
      return Malformed{"an announced command has no name: " + printable(command.dump())};
    }
    Command announced{
        .name = text_of(command, "name"), .kind = text_of(command, "kind"), .doc = text_of(command, "doc")};
    if (const auto params = command.find("params"); params != command.end()) {
      if (!params->is_array())
        return Malformed{"the params of command " + announced.name + " are not an array"};
      announced.params = *params;
    }
    announcement.names.insert(announced.name);
    announcement.commands.push_back(std::move(announced));
  }
  return announcement;
}

}  // namespace

std::vector<std::string> files_of(const Json& said) {
  std::vector<std::string> files;
  const auto listed = said.is_object() ? said.find("files") : said.end();
  if (listed == said.end() || !listed->is_array()) return files;
  for (const Json& file : *listed) {
    if (file.is_string()) files.push_back(file.get<std::string>());
  }
  return files;
}

bool Announcement::knows(std::string_view command) const {
  return protocol == Protocol::kOne || names.find(command) != names.end() || is_standard(command);
}

std::string timestamp() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() % 1'000'000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char date[32];
  char text[48];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text, sizeof text, "%s.%06dZ", date, static_cast<int>(micros < 0 ? 0 : micros));
  return text;
}

std::string encode_offer(const Offer& offer) {
  Json features = Json::array({"cancel", "stream", "callback", "batch", "arrays"});
  if (offer.files) features.push_back("files");
  const auto spin = std::chrono::duration_cast<std::chrono::microseconds>(offer.spin).count();
  if (spin > 0) features.insert(features.end(), {"spin", "handover"});
  Json request = {
      {"id", 0},
      {"command", "ping"},
      {"timestamp", timestamp()},
      {"args",
       {{"initialization", true},
        {"worker_id", offer.worker_id},
        {"lair",
         {{"version", kProtocolVersion},
          {"generation", offer.generation},
          {"codecs", Json::array({"msgpack", "json"})},
          {"features", std::move(features)},
          {"concurrency", offer.concurrency},
          {"max_frame", offer.max_frame}}}}},
  };
  if (spin > 0) request["args"]["lair"]["spin"] = spin;
  return request.dump();
}

std::variant<Announcement, StartError, Malformed> decode_handshake(std::string_view payload,
                                                                   std::uint32_t concurrency) {
  std::string problem;
  const auto reply = decode_json(payload, problem);
  if (!reply) return Malformed{"the reply is not JSON (" + problem + "): " + printable(payload)};
  if (!reply->is_object()) return Malformed{"the reply is not an object: " + printable(payload)};
  if (reply->value("id", Json()) != Json(0))
    return Malformed{"the reply's id is not 0: " + printable(payload)};

  const auto success = reply->find("success");
  if (success == reply->end() || !success->is_boolean()) {
    return Malformed{"the reply has no boolean 'success': " + printable(payload)};
  }
  if (!success->get<bool>()) {
    const std::string stage = text_of(*reply, "stage");
    const Json reason = reply->value("error", Json());
    return StartError{.stage = stage.empty() ? "handshake" : stage,
                      .permanent = flag_of(*reply, "permanent"),
                      .type = text_of(*reply, "error_type"),
                      .message = reason.is_string() ? reason.get<std::string>() : reason.dump(),
                      .traceback = text_of(*reply, "traceback"),
                      .files = files_of(*reply)};
  }
  const Json result = reply->value("result", Json());
  Announcement announcement;
  if (!result.is_object()) return announcement;
  if (const auto status = result.find("status"); status != result.end() && *status != Json("ok")) {
    return StartError{.stage = "handshake",
                      .permanent = false,
                      .type = {},
                      .message = "the worker's status is " + printable(status->dump()) + ", not \"ok\"",
                      .traceback = {}};
  }
  announcement.python = text_of(result, "python");
  const auto lair = result.find("lair");
  if (lair == result.end()) return announcement;
  return decode_choice(*lair, std::move(announcement), concurrency);
}

}  // namespace lair::wire
