// The names of Lair's types, without what they are made of: for headers that only pass pools and results around. It includes
// neither nlohmann/json nor the standard library's containers; who calls something includes lair/pool.hpp in its .cpp.
//
//   #include <lair/fwd.hpp>
//   class Scorer { public: explicit Scorer(lair::Pool& pool); lair::Result<double> score(std::string_view text); … };
//
// Thread-safety: names only.
#pragma once

#include <cstdint>

namespace lair {

// Values.
enum class ErrorKind : std::uint8_t;
enum class Delivery : std::uint8_t;
struct Error;
class CallError;
template <class T>
class Result;
template <class T>
class Stream;
template <class Signature>
class Function;

// What is set.
struct PoolOptions;
struct CallOptions;
struct MapOptions;
struct CheckoutOptions;
struct SessionOptions;
struct WorkerSpec;
struct BreakerOptions;

// What is called.
class Endpoint;
class Pool;
class Lease;
class Session;
class Router;
class RoutedSession;
class FakeEndpoint;

// What they tell.
struct PoolStats;
struct PoolHealth;
struct PoolEvent;
struct SessionInfo;

}  // namespace lair
