// A call's arguments, as the command line gives them: JSON, or where it is.
#include <fstream>
#include <iostream>
#include <iterator>

#include "common.hpp"

namespace lair::cli {

static std::string read_all(std::istream& in, const std::string& name) {
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) throw UsageError("can't read " + name);
  return text;
}

Json call_arguments(const std::string& given) {
  if (given.empty()) return Json::array();  // fits keywords and positions alike

  std::string text = given;
  std::string what = "the arguments are";
  if (text == "-") {
    text = read_all(std::cin, "stdin");
    what = "stdin is";
  } else if (text.starts_with('@')) {
    const std::string path = text.substr(1);
    std::ifstream file(path, std::ios::binary);
    if (!file) throw UsageError("can't open the arguments' file '" + path + "'; check the name after '@'");
    text = read_all(file, path);
    what = path + " is";
  }
  Json arguments = parse_json(text, what);
  if (!arguments.is_object() && !arguments.is_array()) {
    std::string wrapped = text.size() > 60 ? "…" : printable(text);
    throw UsageError(what + " a JSON " + arguments.type_name() +
                     ", but a call takes an object (keywords) or an array "
                     "(positions). For one positional argument wrap it: '[" +
                     wrapped + "]'");
  }
  return arguments;
}

}  // namespace lair::cli
