// Types of fields as texts, "dict[str, list[int]] | None": read as Python's parser reads them, and only what names a type.
//
// Thread-safety: pure; a Reader: one thread.
#pragma once

#include <cstdint>
#include <lair/result.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace lair::dspy {

struct TypeNode {
  enum class Kind : std::uint8_t {
    kName,      // `text`: int, dspy.History
    kText,      // `text`: 'a text', without its quotes
    kNumber,    // `text`: -5, 1.5
    kConstant,  // `text`: None, True, False
    kEllipsis,
    kBrackets,  // the first of `parts` is what stands before them
    kEither,    // two `parts`
    kTuple,
  };
  Kind kind = Kind::kName;
  std::string text = {};
  std::vector<TypeNode> parts = {};
};

// As Python writes it: one space after commas and around |, no needless brackets.
std::string to_text(const TypeNode& node);

// Reads a text from left to right.
class Reader {
 public:
  explicit Reader(std::string_view text, std::size_t begin = 0) : text_(text), at_(begin) {}

  // Whether it is next, after white space; then it is behind.
  bool take(char c);
  bool at_end();
  // kInvalidArgument says at which character what is expected.
  Result<std::string> identifier();
  Result<TypeNode> type();
  Error expected(std::string_view what);

 private:
  char peek();
  std::string_view word();
  Result<TypeNode> postfix();
  Result<TypeNode> atom();
  Result<TypeNode> number();
  Result<TypeNode> quoted();
  Result<std::vector<TypeNode>> list(char closing, bool* comma = nullptr);

  static constexpr int kDeepest = 60;

  std::string_view text_;
  std::size_t at_;
  int depth_ = 0;
};

}  // namespace lair::dspy
