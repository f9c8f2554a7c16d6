#include "lair/expose.hpp"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <typeinfo>

namespace lair::detail {

static std::string readable(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free);
  return name == nullptr ? type.name() : name.get();
}

static Error invalid(std::string message) {
  return {.kind = ErrorKind::kInvalidArgument, .delivery = Delivery::kNotSent, .message = std::move(message)};
}

Result<void> check_host_arguments(const Json& arguments, std::size_t count) {
  if (arguments.is_object()) {
    if (count == 0 && arguments.empty()) return {};
    return invalid("takes its arguments by position, not by keyword");
  }
  if (arguments.size() == count) return {};
  return invalid("takes " + std::to_string(count) + (count == 1 ? " argument, not " : " arguments, not ") +
                 std::to_string(arguments.size()));
}

Error wrong_host_argument(std::size_t place, const char* what, const Json& value) {
  return invalid("argument " + std::to_string(place + 1) + " (" + value.type_name() +
                 ") does not fit: " + what);
}

static Error thrown_error(std::string type, std::string message) {
  return {.kind = ErrorKind::kRemote,
          .delivery = Delivery::kExecuted,
          .message = message,
          .python = PythonError{std::move(type), std::move(message), {}}};
}

Error host_function_threw(const std::exception& thrown) {
  return thrown_error(readable(typeid(thrown)), thrown.what());
}

Error host_function_threw_something() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  return thrown_error(type == nullptr ? "unknown" : readable(*type), "it threw what is no std::exception");
}

}  // namespace lair::detail
