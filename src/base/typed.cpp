#include "lair/typed_dom.hpp"

#include "base/json_text.hpp"
#include "lair/endpoint.hpp"

namespace lair {

std::optional<Error> Endpoint::invoke_typed(const CallOptions& options, std::string_view command,
                                            const detail::TypedArguments& arguments,
                                            detail::ResultSink& result) {
  Result<Json> value = invoke(options, command, arguments.json());
  if (!value) return std::move(value).error();
  result.keep(*std::move(value));
  return std::nullopt;
}

namespace detail {

void Mismatch::within(const std::string& part) {
  place_.insert(0, part);
  text_ = "at " + place_ + " " + what_;
}

void mismatch(const char* wanted, const Json& got) {
  std::string what = std::string(wanted) + " is wanted, not ";
  if (got.is_null()) {
    what += "null";
  } else {
    const std::string_view type = got.is_number_float() ? "float" : got.type_name();
    what += (type == "array" || type == "object" ? "an " : "a ") + std::string(type);
    if (!got.is_structured()) what += " (" + base::shown(got, 40) + ")";
  }
  throw Mismatch(what);
}

void does_not_fit(const Json& got, std::string_view least, std::string_view most) {
  throw Mismatch(got.dump() + " does not fit: from " + std::string(least) + " to " + std::string(most) +
                 " is wanted");
}

void wrong_length(std::size_t wanted, std::size_t got) {
  throw Mismatch("an array of " + std::to_string(wanted) + " is wanted, not of " + std::to_string(got));
}

void field_missing(const char* name) { throw Mismatch("the field '" + std::string(name) + "' is missing"); }

void pass_on(const Json::exception& error, const std::string& part) {
  // nlohmann's text starts with "[json.exception.type_error.302] ", which says nothing to a reader.
  std::string_view reason = error.what();
  if (const auto end = reason.find("] "); reason.starts_with('[') && end != reason.npos)
    reason.remove_prefix(end + 2);
  Mismatch found((std::string(reason)));
  found.within(part);
  throw found;
}

std::string part_of(std::size_t index) { return '[' + std::to_string(index) + ']'; }
std::string part_of(std::string_view member) { return '.' + std::string(member); }

}  // namespace detail

}  // namespace lair
