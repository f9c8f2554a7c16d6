// Names of fields: what the program calls a field, and the Python identifier that it has in DSPy. The rules are those of
// python/lair_dspy/_names.py; tests/dspy/signatures.json holds both to them.
//
// Characters beyond ASCII count as letters, which most are: two names that differ only in other such characters are refused
// by the worker.
//
// Thread-safety: pure.
#pragma once

#include <lair/result.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lair::dspy {

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_identifier(std::string_view name);
bool is_keyword(std::string_view name);

// Non-word characters become `_`; what would begin with one, or with a digit, becomes `field_N`, N being the `position`.
std::string sanitised(std::string_view name, std::size_t position);

// Each name with its identifier, in order. kInvalidArgument: one is blank, two are the same or would become so.
Result<std::vector<std::pair<std::string, std::string>>> identifiers_of(
    const std::vector<std::string>& names);

}  // namespace lair::dspy
