// A map where there are no batches: a call for each item, one after another.
#include "lair/map.hpp"

#include "lair/endpoint.hpp"

namespace lair {

void Endpoint::run_map(const MapOptions& options, std::string_view command, detail::MapJob& job) {
  for (std::size_t done = 0; !options.call.stop.stop_requested();) {
    auto item = job.next();
    if (!item) return;
    const bool more = job.done(done, invoke(options.call, command, *std::move(item)));
    ++done;
    if (options.progress) options.progress(done);
    if (!more) return;
  }
}

namespace detail {

Error of_item(std::size_t index, Error error) {
  error.message = "item " + std::to_string(index) + ": " + error.message;
  return error;
}

Error map_was_stopped(std::string_view command) {
  return {.kind = ErrorKind::kCancelled,
          .delivery = Delivery::kNotSent,
          .message = "the map of command \"" + std::string(command) + "\" was stopped"};
}

}  // namespace detail

}  // namespace lair
