// One suite for all the forms of a call that need nothing but Lair.
#include "e2e/call_forms_suite.hpp"

namespace lair::test {
namespace {

using Forms = ::testing::Types<Blocking, Callback, Coroutine, Future>;
struct Names {
  template <class Form>
  static std::string GetName(int /*index*/) {
    if (std::is_same_v<Form, Blocking>) return "Blocking";
    if (std::is_same_v<Form, Callback>) return "Callback";
    return std::is_same_v<Form, Coroutine> ? "Coroutine" : "Future";
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(Of, CallForms, Forms, Names);

}  // namespace
}  // namespace lair::test
