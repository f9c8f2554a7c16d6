#include "support/paths.hpp"

namespace lair::test {

std::string in_source(std::string_view path) { return LAIR_TEST_SOURCE_DIR "/" + std::string(path); }
std::string in_bin(std::string_view program) { return LAIR_TEST_BIN_DIR "/" + std::string(program); }

}  // namespace lair::test
