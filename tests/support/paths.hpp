// Where this source tree and its build lie. One file alone is compiled with that (paths.cpp): of all the others, a compiler's
// cache can serve a tree that lies elsewhere.
#pragma once

#include <string>
#include <string_view>

namespace lair::test {

std::string in_source(std::string_view path);  // "tests/workers"
std::string in_bin(std::string_view program);  // "lair-keeper"

}  // namespace lair::test
