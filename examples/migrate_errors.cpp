// The errors of docs/migrating.md: what a caller of the original pool did with its error tuples, done with kinds.
#include <lair/pool.hpp>

#include <iostream>
#include <string>

#include "worker_file.hpp"

using namespace std::chrono_literals;

// What becomes of a request of ours. May it simply be made again? Only if the command has certainly not run.
std::string outcome(const lair::Result<lair::Json>& reply) {
  if (reply) return reply->dump();
  const lair::Error& error = reply.error();
  const bool again = error.delivery == lair::Delivery::kNotSent;
  switch (error.kind) {
    case lair::ErrorKind::kOverloaded:   // :checkout_timeout, and a full queue
    case lair::ErrorKind::kUnavailable:  // :pool_not_available
      return "503, try again after " + std::to_string(error.retry_after_ms.value_or(1000)) + " ms";
    case lair::ErrorKind::kDeadlineExceeded:  // :command_timeout
      return again ? "504, never began" : "504, may have run";
    case lair::ErrorKind::kWorkerLost:  // :port_exited, :port_send_failed
      return again ? "503, never began" : "502, may have run";
    case lair::ErrorKind::kRemote:  // :python_error
      return "422, " + error.python->message;
    case lair::ErrorKind::kUnknownCommand:
    case lair::ErrorKind::kInvalidArgument:
      return "400, " + error.message;
    default:  // kProtocol: :response_mismatch, :decode_error; kInternal
      return "500, " + error.report();
  }
}

int main() try {
  const std::string script = worker_file("migrate_old_worker.py");
  lair::Pool pool{{.name = "old", .worker = lair::command({"python3", script}), .size = 1}};
  pool.wait_ready();

  const lair::kwargs text{{"text", "to be"}};
  std::cout << outcome(pool.try_call("count_words", text)) << '\n';
  std::cout << outcome(pool.try_call("count_words", lair::kwargs{})) << '\n';
  std::cout << outcome(pool.try_call("count_wrods", text)) << '\n';

  const lair::Lease lease = pool.checkout();  // the only worker is taken
  std::cout << outcome(pool.try_call({.checkout_timeout = 10ms}, "count_words", text)) << '\n';
  std::cout << outcome(pool.try_call({.timeout = 10ms}, "count_words", text)) << '\n';
} catch (const lair::CallError& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
