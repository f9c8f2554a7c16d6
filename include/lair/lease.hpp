// Lease: an exclusive hold on one worker, for several calls that must meet the same process.
//
//   auto lease = pool.checkout({.timeout = 1s});
//   lease.call("load", path);
//   lease.call("query", 7);        // the same worker
//                                  // goes back to the pool here
//
// A call that is late, cancelled or loses the worker ends the lease; later calls on it are kWorkerLost with delivery
// kNotSent. Calls come one after another, also those that do not block: a second one is kInvalidArgument. Releasing the
// lease cancels one that is under way. A lease may outlive its pool: its worker is ended by the pool's
// shutdown and its calls then fail.
//
// Thread-safety: one thread at a time. Move-only.
#pragma once

#include <lair/endpoint.hpp>
#include <memory>

namespace lair {

class Pool;

class Lease final : public Endpoint {
 public:
  Lease(Lease&&) noexcept;
  Lease& operator=(Lease&&) noexcept;  // returns the worker it held
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() override;  // as release()

  Result<Json> invoke(const CallOptions& options, std::string_view command, Json arguments) override;
  std::optional<Error> invoke_typed(const CallOptions& options, std::string_view command,
                                    const detail::TypedArguments& arguments,
                                    detail::ResultSink& result) override;
  void start(const CallOptions& options, std::string_view command, Json arguments, Completion done) override;
  std::unique_ptr<StreamSource> open(const CallOptions& options, std::string_view command,
                                     Json arguments) override;

  // Which worker it holds. Aborts on a released lease.
  WorkerIdentity worker() const;
  bool valid() const noexcept { return impl_ != nullptr; }
  // Gives the worker back now. Never blocks; the lease is then empty.
  void release() noexcept;

 private:
  friend class Pool;
  struct Impl;
  explicit Lease(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lair
