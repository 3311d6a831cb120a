#include "model/decoder.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "base/id.h"
#include "base/printable.h"
#include "base/text.h"

namespace tutti::codec {
namespace {

std::string_view kind_name(DocKind kind) {
  switch (kind) {
    case DocKind::null: return "null";
    case DocKind::boolean: return "true or false";
    case DocKind::integer:
    case DocKind::unsigned_integer:
    case DocKind::real: return "a number";
    case DocKind::string: return "a string";
    case DocKind::plain: return "a word";
    case DocKind::list: return "a list";
    case DocKind::map: return "an object";
  }
  return "?";
}

std::string shown(std::string_view text) {
  std::string out = "\"";
  out += text.substr(0, 60);
  if (text.size() > 60) out += "…";
  return out + "\"";
}

std::string joined(const std::vector<std::string_view>& words) {
  std::string out;
  for (std::string_view word : words) {
    if (!out.empty()) out += ", ";
    out += word;
  }
  return out;
}

// Decimal without leading zeros; false for anything else.
template <class T>
bool parse_decimal(std::string_view text, T& out) {
  std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.empty() || (digits.size() > 1 && digits[0] == '0')) return false;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), out);
  return code == std::errc() && end == text.data() + text.size();
}

bool has_text(const DocNode& node) {
  return node.kind == DocKind::string || node.kind == DocKind::plain;
}

bool looks_octal(std::string_view text) {
  return text.size() > 1 && text[0] == '0' && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// Asked before anything is worked out for an error: finding its place reads the text again, from the beginning.
bool enough(const std::vector<ErrorDetail>& errors, bool& more) {
  return more = more || errors.size() >= Decoder::kErrorsMax;
}

}  // namespace

Error Decoder::error() const {
  Error error;
  error.code = ErrorCode::invalid;
  error.message = options_.what.empty() ? "not valid" : std::string(options_.what) + " is not valid";
  error.details = errors_;
  if (more_) error.details.push_back({"", "there are more errors", "correct these first"});
  return error;
}

std::string Decoder::path() const {
  std::vector<const Frame*> frames;
  for (const Frame* f = path_; f != nullptr; f = f->up) frames.push_back(f);
  std::string out;
  for (auto it = frames.rbegin(); it != frames.rend(); ++it) {
    if ((*it)->element) {
      out += "[" + std::to_string((*it)->index) + "]";
    } else {
      if (!out.empty()) out += ".";
      out += (*it)->name;
    }
  }
  return out;
}

void Decoder::wrong_at(DocPosition position, std::string message, std::string hint) {
  if (enough(errors_, more_)) return;
  if (position.line != 0) message += " (" + to_text(position) + ")";
  errors_.push_back({path(), std::move(message), std::move(hint)});
}

void Decoder::wrong(uint32_t at, std::string message, std::string hint) {
  if (!enough(errors_, more_)) wrong_at(document_.position(at), std::move(message), std::move(hint));
}

void Decoder::wrong_type(uint32_t at, std::string_view expected, std::string hint) {
  if (enough(errors_, more_)) return;
  const DocNode& n = node(at);
  std::string message = "expected " + std::string(expected) + ", not ";
  if (has_text(n))
    message += shown(n.text);
  else
    message += kind_name(n.kind);
  wrong(at, std::move(message), std::move(hint));
}

void Decoder::duplicate(uint32_t at) {
  if (enough(errors_, more_)) return;
  wrong_at(document_.key_position(at), "the key " + shown(node(at).key) + " is there twice", "keep one of them");
}

bool Decoder::expect(uint32_t at, DocKind kind, std::string_view expected) {
  if (node(at).kind == kind) return true;
  std::string hint;
  if (node(at).kind == DocKind::null)
    hint = kind == DocKind::list ? "leave it out, or write []" : "leave it out, or write {}";
  if (kind == DocKind::list && has_text(node(at))) hint = "write [" + shown(node(at).text) + "]";
  wrong_type(at, expected, std::move(hint));
  return false;
}

void Decoder::read(uint32_t at, bool& out) {
  const DocNode& n = node(at);
  if (n.kind == DocKind::boolean) {
    out = n.boolean;
  } else if (n.kind == DocKind::plain && (n.text == "true" || n.text == "false")) {
    out = n.text == "true";
  } else {
    wrong_type(at, "true or false", has_text(n) ? "only the words true and false, without quotes" : "");
  }
}

void Decoder::read(uint32_t at, double& out) {
  const DocNode& n = node(at);
  switch (n.kind) {
    case DocKind::real: out = n.real; return;
    case DocKind::integer: out = static_cast<double>(n.integer); return;
    case DocKind::unsigned_integer: out = static_cast<double>(n.unsigned_integer); return;
    case DocKind::plain: {
      double value = 0;
      auto [end, code] = std::from_chars(n.text.data(), n.text.data() + n.text.size(), value);
      bool finite = value - value == 0;
      if (code == std::errc() && end == n.text.data() + n.text.size() && finite && !looks_octal(n.text)) {
        out = value;
        return;
      }
      break;
    }
    default: break;
  }
  wrong_type(at, "a number");
}

void Decoder::read(uint32_t at, std::string& out) {
  const DocNode& n = node(at);
  if (has_text(n)) {
    out = n.text;
    return;
  }
  std::string hint;
  if (n.kind == DocKind::integer) hint = "put it in quotes: \"" + std::to_string(n.integer) + "\"";
  if (n.kind == DocKind::boolean) hint = n.boolean ? "put it in quotes: \"true\"" : "put it in quotes: \"false\"";
  if (n.kind == DocKind::null) hint = "leave it out, or write \"\"";
  wrong_type(at, "a string", std::move(hint));
}

int64_t Decoder::read_integer(uint32_t at, int64_t min, int64_t max, int64_t fallback) {
  const DocNode& n = node(at);
  int64_t value = 0;
  if (n.kind == DocKind::integer) {
    value = n.integer;
  } else if (n.kind == DocKind::unsigned_integer) {
    wrong(at, "the number is out of range: at most " + std::to_string(max));
    return fallback;
  } else if (n.kind == DocKind::plain && parse_decimal(n.text, value)) {
  } else {
    bool octal = n.kind == DocKind::plain && looks_octal(n.text);
    wrong_type(at, "an integer",
               octal                       ? "numbers are decimal, without a leading 0"
               : n.kind == DocKind::string ? "without quotes"
                                           : "");
    return fallback;
  }
  if (value < min || value > max) {
    wrong(at, "the number is out of range: " + std::to_string(min) + " to " + std::to_string(max));
    return fallback;
  }
  return value;
}

uint64_t Decoder::read_unsigned(uint32_t at, uint64_t max, uint64_t fallback) {
  const DocNode& n = node(at);
  uint64_t value = 0;
  if (n.kind == DocKind::unsigned_integer) {
    value = n.unsigned_integer;
  } else if (n.kind == DocKind::integer && n.integer >= 0) {
    value = static_cast<uint64_t>(n.integer);
  } else if (n.kind == DocKind::integer) {
    wrong(at, "the number is out of range: 0 to " + std::to_string(max));
    return fallback;
  } else if (n.kind == DocKind::plain && parse_decimal(n.text, value)) {
  } else {
    wrong_type(at, "an integer", n.kind == DocKind::string ? "without quotes" : "");
    return fallback;
  }
  if (value > max) {
    wrong(at, "the number is out of range: 0 to " + std::to_string(max));
    return fallback;
  }
  return value;
}

uint64_t Decoder::read_id(uint32_t at) {
  const DocNode& n = node(at);
  if (!has_text(n)) {
    wrong_type(at, "an id (12 letters)");
    return 0;
  }
  if (n.text.empty()) return 0;
  auto id = parse_id_text(n.text);
  if (!id) {
    wrong(at, "not an id: " + shown(n.text) + ": " + id.error().message);
    return 0;
  }
  return *id;
}

void Decoder::read(uint32_t at, Millicores& out) {
  const DocNode& n = node(at);
  int64_t bare = 0;
  bool number = n.kind == DocKind::integer || (n.kind == DocKind::plain && parse_decimal(n.text, bare));
  if (n.kind == DocKind::integer) bare = n.integer;
  if (number) {
    if (bare < 0) return wrong(at, "cpu cannot be negative");
    std::string count = std::to_string(bare);
    if (document_.friendly && bare > 0 && bare < 10) {
      return wrong(at, "a bare " + count + " is ambiguous",
                   count + " means " + count + " millicores: write " + count + "c or " + count + "000m");
    }
    out.value = bare;
    return;
  }
  if (!has_text(n)) return wrong_type(at, "an amount of cpu", "write 500m, 2c or 1.5c");
  auto value = parse_millicores(n.text);
  if (!value) return wrong(at, value.error().message, "write 500m, 2c or 1.5c");
  out = *value;
}

void Decoder::read(uint32_t at, Bytes& out) {
  const DocNode& n = node(at);
  int64_t bare = 0;
  bool number = n.kind == DocKind::integer || (n.kind == DocKind::plain && parse_decimal(n.text, bare));
  if (n.kind == DocKind::integer) bare = n.integer;
  if (number) {
    if (bare < 0) return wrong(at, "a size cannot be negative");
    bool amount = leaf() == "memory" || leaf() == "disk" || leaf() == "size";
    if (document_.friendly && amount && bare > 0 && bare < (1 << 20)) {
      std::string count = std::to_string(bare);
      return wrong(at, "a bare " + count + " is ambiguous",
                   count + " means " + count + " bytes: write " + count + "Mi");
    }
    out.value = bare;
    return;
  }
  if (!has_text(n)) return wrong_type(at, "a size", "write 256Mi, 1Gi or 500M");
  auto value = parse_bytes(n.text);
  if (!value) return wrong(at, value.error().message, "write 256Mi, 1Gi or 500M");
  out = *value;
}

void Decoder::read(uint32_t at, Duration& out) {
  const DocNode& n = node(at);
  if (!has_text(n)) {
    bool number = n.kind == DocKind::integer;
    return wrong_type(at, "a duration",
                      number ? "with a unit: " + std::to_string(n.integer) + "s" : "write 30s, 5m or 1h30m");
  }
  auto value = parse_duration(n.text);
  if (!value)
    return wrong(at, "not a duration: " + shown(n.text) + ": " + value.error().message, "write 30s, 5m or 1h30m");
  out = *value;
}

void Decoder::read(uint32_t at, Time& out) {
  const DocNode& n = node(at);
  if (!has_text(n)) return wrong_type(at, "a time", "write 2026-11-21T08:15:30Z");
  if (n.text.empty()) {
    out = Time{};
    return;
  }
  auto value = parse_time(n.text);
  if (!value)
    return wrong(at, "not a time: " + shown(n.text) + ": " + value.error().message, "write 2026-11-21T08:15:30Z");
  out = *value;
}

int64_t Decoder::read_enum(uint32_t at, std::span<const EnumWord> words, int64_t fallback) {
  const DocNode& n = node(at);
  std::vector<std::string_view> all;
  if (has_text(n)) {
    for (const EnumWord& word : words) {
      // '_' is read as '-'.
      if (std::ranges::equal(word.word, n.text, {}, {}, [](char c) { return c == '_' ? '-' : c; })) return word.value;
    }
  }
  if (enough(errors_, more_)) return fallback;
  for (const EnumWord& word : words) all.push_back(word.word);
  std::string hint = "one of " + joined(all);
  if (!has_text(n)) {
    wrong_type(at, "a word", hint);
    return fallback;
  }
  if (std::string_view near = nearest_word(n.text, all); !near.empty())
    hint = "did you mean \"" + std::string(near) + "\"? " + hint;
  wrong(at, "unknown word " + shown(n.text), std::move(hint));
  return fallback;
}

void Decoder::unknown_member(uint32_t at, std::span<const Member> members) {
  if (enough(errors_, more_)) return;
  std::vector<std::string_view> all;
  for (const Member& member : members) all.push_back(member.name);
  std::string_view near = nearest_word(node(at).key, all);
  std::string hint = near.empty() ? "known here: " + joined(all) : "did you mean \"" + std::string(near) + "\"?";
  wrong_at(document_.key_position(at), "unknown field " + shown(node(at).key), std::move(hint));
}

void Decoder::read_struct(uint32_t at, void* object, std::span<const Member> members) {
  if (!expect(at, DocKind::map, "an object")) return;
  uint64_t seen = 0;
  size_t cursor = 0;  // members mostly come in their order
  each(at, [&](uint32_t child) {
    std::string_view key = node(child).key;
    size_t i = 0;
    for (; i < members.size(); ++i) {
      size_t m = cursor + i < members.size() ? cursor + i : cursor + i - members.size();
      if (members[m].name != key) continue;
      if ((seen >> m) & 1) return duplicate(child);
      seen |= uint64_t{1} << m;
      cursor = m + 1 < members.size() ? m + 1 : 0;
      // Other people's formats write null for what is not there ("Cmd": null).
      if (options_.allow_unknown && node(child).kind == DocKind::null) return;
      return members[m].decode(*this, child, object);
    }
    if (!options_.allow_unknown) unknown_member(child, members);
  });
}

void Decoder::read_raw(uint32_t at, std::string& out) {
  append_document_json(out, document_, at);
}

void append_document_json(std::string& out, const Document& document, uint32_t at) {
  const DocNode& n = document[at];
  Encoder encoder(out, {});
  switch (n.kind) {
    case DocKind::null: return encoder.write_null();
    case DocKind::boolean: return encoder.write(n.boolean);
    case DocKind::integer: return encoder.write_integer(n.integer);
    case DocKind::unsigned_integer: return encoder.write_unsigned(n.unsigned_integer);
    case DocKind::real: return encoder.write(n.real);
    case DocKind::string:
    case DocKind::plain: return encoder.write_string(n.text);
    case DocKind::list:
    case DocKind::map: break;
  }
  bool keyed = n.kind == DocKind::map;
  encoder.open(keyed ? '{' : '[');
  for (uint32_t i = 0, child = at + 1; i < n.count; ++i, child = document[child].next) {
    if (keyed)
      encoder.key(document[child].key);
    else
      encoder.next();
    append_document_json(out, document, child);
  }
  encoder.close(keyed ? '}' : ']');
}

void Encoder::write(double value) {
  if (value - value != 0) return write_integer(0);  // JSON has neither infinities nor NaN
  char buffer[32];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  out_.append(buffer, end);
}

void Encoder::write_integer(int64_t value) {
  char buffer[24];
  out_.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

void Encoder::write_unsigned(uint64_t value) {
  char buffer[24];
  out_.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

void Encoder::write_enum(std::span<const EnumWord> words, int64_t value) {
  for (const EnumWord& word : words) {
    if (word.value == value) return write_string(word.word);
  }
  TUTTI_INVARIANT(false, "an enum holds a value without a word");
}

void Encoder::line() {
  if (!options_.pretty) return;
  out_ += '\n';
  out_.append(static_cast<size_t>(depth_) * 2, ' ');
}

void Encoder::open(char bracket) {
  out_ += bracket;
  ++depth_;
  first_ = true;
}

void Encoder::close(char bracket) {
  --depth_;
  if (!first_) line();
  out_ += bracket;
  first_ = false;
}

void Encoder::next() {
  if (!first_) out_ += ',';
  first_ = false;
  line();
}

void Encoder::key(std::string_view key) {
  next();
  append_json_string(out_, key);
  out_ += options_.pretty ? ": " : ":";
}

// A member's name is an identifier: nothing in it needs an escape.
void Encoder::member(std::string_view name) {
  next();
  out_ += '"';
  out_ += name;
  out_ += options_.pretty ? "\": " : "\":";
}

void Encoder::write_struct(const void* object, const void* defaults, std::span<const Member> members) {
  open('{');
  for (const Member& member : members) {
    if (member.left_out(object, defaults, options_.omit_defaults)) continue;
    this->member(member.name);
    member.encode(*this, object, defaults);
  }
  close('}');
}

}  // namespace tutti::codec

namespace tutti {
// Bytes that are not UTF-8 (a program's error text, a file name) become U+FFFD: readers refuse the whole otherwise.
void append_json_string(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  size_t start = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned char c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') continue;
    if (c >= 0x80) {
      const size_t length = utf8_length(text.substr(i));
      if (length == 2 && c == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0) {  // C1: would steer a terminal
        out.append(text, start, i - start);
        out += "\\u00";
        out += kHex[static_cast<unsigned char>(text[++i]) >> 4];
        out += kHex[static_cast<unsigned char>(text[i]) & 15];
        start = i + 1;
        continue;
      }
      if (length != 0) {
        i += length - 1;
        continue;
      }
    }
    out.append(text, start, i - start);
    start = i + 1;
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\t': out += "\\t"; break;
      case '\r': out += "\\r"; break;
      default:
        if (c >= 0x80) {
          out += "\xEF\xBF\xBD";
          break;
        }
        out += "\\u00", out += kHex[c >> 4], out += kHex[c & 15];
        break;
    }
  }
  out.append(text, start);
  out += '"';
}

}  // namespace tutti
