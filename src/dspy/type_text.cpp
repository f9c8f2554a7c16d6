#include "dspy/type_text.hpp"

#include <algorithm>

#include "dspy/errors.hpp"
#include "dspy/names.hpp"

namespace lair::dspy {

namespace {

// Python's repr of a text.
std::string quoted_text(std::string_view text) {
  const char quote = text.find('\'') != text.npos && text.find('"') == text.npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') out += '\\';
    if (c == '\n' || c == '\t' || c == '\r') {
      out += c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r";
    } else {
      out += c;
    }
  }
  return out + quote;
}

std::string joined(const std::vector<TypeNode>& nodes, std::size_t from) {
  std::string out;
  for (std::size_t i = from; i < nodes.size(); ++i) out += (i > from ? ", " : "") + to_text(nodes[i]);
  return out;
}

}  // namespace

std::string to_text(const TypeNode& node) {
  switch (node.kind) {
    case TypeNode::Kind::kText:
      return quoted_text(node.text);
    case TypeNode::Kind::kEllipsis:
      return "...";
    case TypeNode::Kind::kBrackets:
      return to_text(node.parts[0]) + '[' + (node.parts.size() == 1 ? "()" : joined(node.parts, 1)) + ']';
    case TypeNode::Kind::kEither:
      return to_text(node.parts[0]) + " | " + to_text(node.parts[1]);
    case TypeNode::Kind::kTuple:
      return '(' + joined(node.parts, 0) + ')';
    case TypeNode::Kind::kName:
    case TypeNode::Kind::kNumber:
    case TypeNode::Kind::kConstant:
      return node.text;
  }
  return node.text;
}

char Reader::peek() {
  at_ = std::min(text_.find_first_not_of(" \t\n\r\f", at_), text_.size());
  return at_ < text_.size() ? text_[at_] : '\0';
}

bool Reader::take(char c) {
  if (peek() != c || c == '\0') return false;
  ++at_;
  return true;
}

bool Reader::at_end() { return peek() == '\0' && at_ == text_.size(); }

Error Reader::expected(std::string_view what) {
  peek();
  std::string where = at_ == text_.size() ? "at the end" : "at character " + std::to_string(at_ + 1);
  if (at_ < text_.size()) {
    const std::string_view next = word();
    where += " ('" + std::string(next.empty() ? text_.substr(at_, 1) : next) + "')";
  }
  return invalid(where + ", where " + std::string(what) + " is expected");
}

std::string_view Reader::word() {
  peek();
  std::size_t end = at_;
  while (end < text_.size() && is_identifier(text_.substr(at_, end + 1 - at_))) ++end;
  return text_.substr(at_, end - at_);
}

Result<std::string> Reader::identifier() {
  std::string name(word());
  if (name.empty()) return expected("a name");
  if (is_keyword(name)) return expected("a name, which a word of Python's language is not,");
  at_ += name.size();
  return name;
}

Result<TypeNode> Reader::type() {
  if (++depth_ > kDeepest) return expected("the end of so many brackets");
  auto left = postfix();
  while (left && take('|')) {
    auto right = postfix();
    if (!right) return right;
    left = TypeNode{.kind = TypeNode::Kind::kEither, .parts = {*std::move(left), *std::move(right)}};
  }
  --depth_;
  return left;
}

Result<TypeNode> Reader::postfix() {
  auto found = atom();
  while (found) {
    if (take('[')) {
      if (peek() == ']') return expected("a type");
      auto parts = list(']');
      if (!parts) return std::move(parts).error();
      // A tuple in brackets is what stands in it.
      if (parts->size() == 1 && parts->front().kind == TypeNode::Kind::kTuple) {
        auto inner = std::move(parts->front().parts);
        *parts = std::move(inner);
      }
      parts->insert(parts->begin(), *std::move(found));
      found = TypeNode{.kind = TypeNode::Kind::kBrackets, .parts = *std::move(parts)};
    } else if (found->kind == TypeNode::Kind::kName && take('.')) {
      auto name = identifier();
      if (!name) return std::move(name).error();
      found->text += '.' + *name;
    } else {
      break;
    }
  }
  return found;
}

// Up to and with the closing bracket.
Result<std::vector<TypeNode>> Reader::list(char closing, bool* comma) {
  std::vector<TypeNode> found;
  while (!take(closing)) {
    auto next = type();
    if (!next) return std::move(next).error();
    found.push_back(*std::move(next));
    if (take(',')) {
      if (comma != nullptr) *comma = true;
    } else if (peek() != closing) {
      return expected(std::string("',' or '") + closing + "'");
    }
  }
  return found;
}

Result<TypeNode> Reader::atom() {
  const char c = peek();
  if (c == '\'' || c == '"') return quoted();
  if (is_digit(c) || c == '-' || c == '+') return number();
  if (text_.substr(at_).starts_with("...")) {
    at_ += 3;
    return TypeNode{.kind = TypeNode::Kind::kEllipsis};
  }
  if (take('(')) {
    bool comma = false;
    auto parts = list(')', &comma);
    if (!parts) return std::move(parts).error();
    if (parts->size() == 1 && !comma) return std::move(parts->front());
    return TypeNode{.kind = TypeNode::Kind::kTuple, .parts = *std::move(parts)};
  }
  if (const std::string_view next = word(); next == "None" || next == "True" || next == "False") {
    at_ += next.size();
    return TypeNode{.kind = TypeNode::Kind::kConstant, .text = std::string(next)};
  }
  if (!is_identifier(std::string_view(&c, 1))) return expected("a type");
  auto name = identifier();
  if (!name) return std::move(name).error();
  return TypeNode{.kind = TypeNode::Kind::kName, .text = *std::move(name)};
}

Result<TypeNode> Reader::number() {
  std::size_t end = at_;
  if (text_[end] == '-' || text_[end] == '+') ++end;
  const std::size_t digits = end;
  while (end < text_.size() && is_digit(text_[end])) ++end;
  const bool padded = end - digits > 1 && text_[digits] == '0';
  const std::size_t integer = end;
  if (end < text_.size() && text_[end] == '.') {
    for (++end; end < text_.size() && is_digit(text_[end]);) ++end;
  }
  if (integer == digits || (padded && end == integer)) return expected("a number");
  if (end < text_.size() && is_identifier(text_.substr(end, 1))) return expected("a decimal number");
  TypeNode found{.kind = TypeNode::Kind::kNumber, .text = std::string(text_.substr(at_, end - at_))};
  at_ = end;
  return found;
}

// Texts that follow each other are one.
Result<TypeNode> Reader::quoted() {
  TypeNode found{.kind = TypeNode::Kind::kText};
  while (peek() == '\'' || peek() == '"') {
    std::size_t i = at_ + 1;
    for (; i < text_.size() && text_[i] != text_[at_] && text_[i] != '\n'; ++i) {
      if (text_[i] != '\\') {
        found.text += text_[i];
        continue;
      }
      static constexpr std::string_view kWritten = "ntr\\'\"", kMeant = "\n\t\r\\'\"";
      const std::size_t which = ++i < text_.size() ? kWritten.find(text_[i]) : kWritten.npos;
      if (which == kWritten.npos) {
        at_ = std::min(i, text_.size());
        return expected("one of \\n \\t \\r \\\\ \\' \\\"");
      }
      found.text += kMeant[which];
    }
    if (i >= text_.size() || text_[i] == '\n') return expected("a text that has an end");
    at_ = i + 1;
  }
  return found;
}

}  // namespace lair::dspy
