// The suite of all forms of a call, for operations of Boost.Asio.
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <lair/asio.hpp>

#include "e2e/call_forms_suite.hpp"

namespace lair::test {
namespace {

struct Asio {
  template <class... Args>
  static Reply begin(Endpoint& endpoint, const CallOptions& options, const char* command, Args... args) {
    return std::async(std::launch::deferred,
                      [value = asio::call(endpoint, options, command, std::move(args)...)(
                           boost::asio::use_future)]() mutable { return unexcepted(value); });
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(OfAsio, CallForms, ::testing::Types<Asio>);

}  // namespace
}  // namespace lair::test
