// Whether a field's type is one: a text like "list[str]", or a JSON schema. The rules are those of
// python/lair_dspy/_types.py; what only pydantic knows (a limit that does not suit its type) is left to the worker.
//
// Thread-safety: pure.
#pragma once

#include <lair/json.hpp>
#include <lair/result.hpp>
#include <string_view>

#include "dspy/type_text.hpp"

namespace lair::dspy {

// `models`: an object, whose names are types, too.
Result<void> check_type(const TypeNode& type, const Json& models);
Result<void> check_type(std::string_view text, const Json& models);

// The errors begin with the place in the schema, of which `name` is the root. `others`: what $ref may name besides its $defs.
Result<void> check_schema(const Json& schema, std::string_view name, const Json& others);

Result<void> check_models(const Json& models);

}  // namespace lair::dspy
