#include "model/json_scan.h"

#include <cctype>
#include <charconv>

#include "base/limits.h"

namespace tutti {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Scanner {
 public:
  explicit Scanner(std::string_view text, std::optional<uint32_t> target = {}) : text_(text), target_(target) {}

  // True when the whole text is one value. With a target: stops, false, where it is reached.
  bool whole() {
    if (!value(0)) return false;
    space();
    return at_ == text_.size() || fault("there is something after the end of the document");
  }

  std::optional<JsonFault> offence() const {
    if (message_.empty()) return std::nullopt;
    return JsonFault{position_of(text_, offence_at_), message_};
  }
  JsonNodePlace place() const {
    if (!found_) return {};
    return {position_of(text_, key_offset_), position_of(text_, value_offset_)};
  }

 private:
  bool fault(std::string message) {
    if (message_.empty()) message_ = std::move(message), offence_at_ = at_;
    return false;
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void space() {
    while (at_ < text_.size() && (peek() == ' ' || peek() == '\n' || peek() == '\t' || peek() == '\r')) ++at_;
  }

  bool value(size_t depth, size_t key_offset = 0) {
    if (depth > limits::kDocumentDepthMax)
      return fault("nested deeper than " + std::to_string(limits::kDocumentDepthMax) + " (kDocumentDepthMax)");
    space();
    if (target_ && seen_++ == *target_) {
      found_ = true, value_offset_ = at_, key_offset_ = key_offset;
      return false;
    }
    if (at_ >= text_.size()) return fault("the document ends where a value is expected");
    switch (peek()) {
      case '{': return object(depth);
      case '[': return array(depth);
      case '"': return string();
      case 't': return word("true");
      case 'f': return word("false");
      case 'n': return word("null");
      default: break;
    }
    if (peek() == '-' || is_digit(peek())) return number();
    return fault("expected a value");
  }

  bool object(size_t depth) {
    ++at_;
    space();
    if (peek() == '}') return ++at_, true;
    while (true) {
      space();
      size_t key_offset = at_;
      if (peek() != '"')
        return fault(at_ < text_.size() ? "expected a key in double quotes" : "an object is not closed");
      if (!string()) return false;
      space();
      if (peek() != ':') return fault("expected ':'");
      ++at_;
      if (!value(depth + 1, key_offset)) return false;
      space();
      if (peek() == '}') return ++at_, true;
      if (peek() != ',') return fault(at_ < text_.size() ? "expected ',' or '}'" : "an object is not closed");
      ++at_;
    }
  }

  bool array(size_t depth) {
    ++at_;
    space();
    if (peek() == ']') return ++at_, true;
    while (true) {
      space();
      if (!value(depth + 1, at_)) return false;
      space();
      if (peek() == ']') return ++at_, true;
      if (peek() != ',') return fault(at_ < text_.size() ? "expected ',' or ']'" : "a list is not closed");
      ++at_;
    }
  }

  bool string() {
    ++at_;
    while (at_ < text_.size()) {
      unsigned char c = static_cast<unsigned char>(text_[at_]);
      if (c == '"') return ++at_, true;
      if (c < 0x20) return fault("a control character inside a string: write \\n or \\u00XX");
      if (c == '\\') {
        ++at_;
        char e = peek();
        if (e == 'u') {
          for (int i = 1; i <= 4; ++i) {
            if (at_ + 4 >= text_.size() ||
                std::isxdigit(static_cast<unsigned char>(text_[at_ + static_cast<size_t>(i)])) == 0)
              return fault("\\u needs four hex digits");
          }
        } else if (std::string_view("\"\\/bfnrt").find(e) == std::string_view::npos) {
          return fault("no such escape in a string");
        }
      }
      ++at_;
    }
    return fault("a string is not closed");
  }

  bool word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return fault("expected a value");
    at_ += word.size();
    return true;
  }

  bool number() {
    size_t start = at_;
    bool real = false;
    if (peek() == '-') ++at_;
    if (!is_digit(peek())) return fault("expected a digit");
    if (peek() == '0' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1]))
      return fault("a number cannot start with 0");
    while (is_digit(peek())) ++at_;
    if (peek() == '.') {
      real = true, ++at_;
      if (!is_digit(peek())) return fault("expected a digit after '.'");
      while (is_digit(peek())) ++at_;
    }
    if (peek() == 'e' || peek() == 'E') {
      real = true, ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      if (!is_digit(peek())) return fault("expected a digit in the exponent");
      while (is_digit(peek())) ++at_;
    }
    return in_range(start, real) || (at_ = start, fault("the number is out of range"));
  }

  bool in_range(size_t start, bool real) const {
    const char* first = text_.data() + start;
    const char* last = text_.data() + at_;
    if (real) {
      double d = 0;
      return std::from_chars(first, last, d).ec == std::errc();
    }
    uint64_t u = 0;
    int64_t i = 0;
    return std::from_chars(first, last, u).ec == std::errc() || std::from_chars(first, last, i).ec == std::errc();
  }

  std::string_view text_;
  std::optional<uint32_t> target_;
  size_t at_ = 0;
  uint32_t seen_ = 0;
  bool found_ = false;
  size_t key_offset_ = 0;
  size_t value_offset_ = 0;
  size_t offence_at_ = 0;
  std::string message_;
};

}  // namespace

DocPosition position_of(std::string_view text, size_t offset) {
  DocPosition at{1, 1};
  for (size_t i = 0; i < offset && i < text.size(); ++i) {
    if (text[i] == '\n') {
      ++at.line, at.column = 1;
    } else if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) {  // columns count characters, not bytes
      ++at.column;
    }
  }
  return at;
}

JsonNodePlace find_json_node(std::string_view text, uint32_t index) {
  Scanner scanner(text, index);
  (void)scanner.whole();
  return scanner.place();
}

std::optional<JsonFault> find_json_fault(std::string_view text) {
  Scanner scanner(text);
  (void)scanner.whole();
  return scanner.offence();
}

}  // namespace tutti
