// What a command asks of its session's store, in the middle of its call: docs/protocol.md, "The session store".
//
// Thread-safety: any thread.
#pragma once

#include <lair/json.hpp>
#include <lair/result.hpp>
#include <memory>
#include <string_view>

#include "pool/host_functions.hpp"
#include "store/session_store.hpp"

namespace lair::pool {

// `what`: get, put, delete, compare_and_set or list. The session is that of the call, whatever the worker says.
Result<Json> serve_store(store::SessionStore& store, std::string_view what, const Json& arguments,
                         const CallContext& context);

}  // namespace lair::pool
