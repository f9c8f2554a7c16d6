#include "pool/host_functions.hpp"

#include <utility>

#include "base/assert.hpp"
#include "base/nearest.hpp"
#include "pool/arrays.hpp"

namespace lair::pool {

namespace {

thread_local const CallContext* this_threads_call = nullptr;

class Serving {
 public:
  explicit Serving(const CallContext& context) : before_(std::exchange(this_threads_call, &context)) {}
  ~Serving() { this_threads_call = before_; }
  Serving(const Serving&) = delete;
  Serving& operator=(const Serving&) = delete;

 private:
  const CallContext* before_;
};

}  // namespace

const CallContext* CallContext::current() { return this_threads_call; }

std::string CallContext::encoded() const {
  Json workers = Json::array();
  for (const Link& link : chain) workers.push_back(link.worker);
  return workers.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void HostFunctions::expose(std::string name, HostFunction function) {
  LAIR_ASSERT(!name.starts_with(kStorePrefix), "names that begin with lair.session. are the session store's");
  LAIR_ASSERT(!name.starts_with(kArrayPrefix), "names that begin with lair.array. are the arrays'");
  const std::lock_guard lock(mutex_);
  if (function) {
    functions_[std::move(name)] = std::make_shared<const HostFunction>(std::move(function));
  } else {
    functions_.erase(name);
  }
}

bool HostFunctions::empty() const {
  const std::lock_guard lock(mutex_);
  return functions_.empty();
}

Result<Json> HostFunctions::call(const std::string& name, Json arguments, const CallContext& context) const {
  if (name.starts_with(kStorePrefix)) {
    const Serving serving(context);
    return store_desk_(std::string_view(name).substr(kStorePrefix.size()), arguments, context);
  }
  std::shared_ptr<const HostFunction> function;
  {
    const std::lock_guard lock(mutex_);
    const auto found = functions_.find(name);
    if (found == functions_.end()) {
      std::vector<std::string_view> names;
      for (const auto& [known, unused] : functions_) names.push_back(known);
      std::string message = "the host exposes no function \"" + name + '"';
      if (names.empty()) {
        message += ": it exposes none (pool.expose)";
      } else if (const auto guess = base::nearest(name, names)) {
        message += "; did you mean \"" + std::string(*guess) + "\"?";
      }
      return Error{
          .kind = ErrorKind::kUnknownCommand, .delivery = Delivery::kNotSent, .message = std::move(message)};
    }
    function = found->second;
  }
  const Serving serving(context);
  try {
    Result<Json> result = (*function)(std::move(arguments));
    if (!result && result.error().kind == ErrorKind::kInvalidArgument) {
      Error error = std::move(result).error();
      error.message = "host function \"" + name + "\": " + error.message;
      return error;
    }
    return result;
  } catch (const std::exception& thrown) {
    return detail::host_function_threw(thrown);
  } catch (...) {
    return detail::host_function_threw_something();
  }
}

}  // namespace lair::pool
