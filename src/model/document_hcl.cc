#include <cctype>
#include <map>

#include "base/limits.h"
#include "base/text.h"
#include "model/document.h"
#include "model/json_scan.h"

// A small front end for job files in HCL: blocks, attributes, strings, numbers, lists, objects, comments.
// What HCL has beyond that (interpolation, functions, references, heredocs, operators) is refused with its place.
//
//   job "shop" { type = "service"                          job: shop, type: service
//     group "front" { count = 2                            each task gets group and count
//       task "web" { image = "x"                           tasks: [{name: web, image: x …}]
//         port "http" { container = 80 }                   ports: [{name: http, container: 80}]
//         volume "data" { target = "/data" }               volumes: [{source: data, target: /data}]
//         health "up" { port = "http" }                    health: [{name: up, port: http}]
//         resources { cpu = "500m" } } } }                 resources: {cpu: 500m}

namespace tutti {
namespace {

struct Refused {
  DocPosition at;
  std::string message;
};

// A value or a block: a block is a map with its labels.
struct HclEntry;
struct HclValue {
  DocKind kind = DocKind::null;
  DocPosition at;
  std::string text;
  std::vector<HclEntry> entries;  // list: empty keys
  std::vector<std::string> labels;
  bool block = false;
  DocPosition key_at;
};

struct HclEntry {
  std::string key;
  HclValue value;
};

bool is_word_start(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_';
}
bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
}

class HclParser {
 public:
  explicit HclParser(std::string_view text) : text_(text) {}

  HclValue file() {
    HclValue root;
    root.kind = DocKind::map;
    body(root, '\0', 0);
    return root;
  }

 private:
  [[noreturn]] void refuse(std::string message) const { throw Refused{position_of(text_, at_), std::move(message)}; }
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool done() const { return at_ >= text_.size(); }
  // Where at_ is. Goes on from the last answer, so that a whole file costs one pass.
  DocPosition here() {
    for (; marked_ < at_; ++marked_) {
      if (text_[marked_] == '\n') {
        ++mark_.line, mark_.column = 1;
      } else if ((static_cast<unsigned char>(text_[marked_]) & 0xC0) != 0x80) {
        ++mark_.column;
      }
    }
    return mark_;
  }

  // Blanks and comments; newlines too unless `line` (inside a line of a body they end the attribute).
  void skip(bool line = false) {
    while (!done()) {
      if (peek() == '\n' && line) return;
      if (std::isspace(static_cast<unsigned char>(peek())) != 0) {
        ++at_;
      } else if (peek() == '#' || (peek() == '/' && peek(1) == '/')) {
        while (!done() && peek() != '\n') ++at_;
      } else if (peek() == '/' && peek(1) == '*') {
        size_t end = text_.find("*/", at_ + 2);
        if (end == std::string_view::npos) refuse("a comment is not closed");
        at_ = end + 2;
      } else {
        return;
      }
    }
  }

  std::string word() {
    size_t start = at_;
    while (is_word(peek())) ++at_;
    return std::string(text_.substr(start, at_ - start));
  }

  void body(HclValue& into, char end, size_t depth) {
    if (depth > limits::kDocumentDepthMax) refuse("nested too deeply (kDocumentDepthMax)");
    while (true) {
      skip();
      if (end == '\0' ? done() : peek() == end) break;
      if (done()) refuse("a block is not closed: expected '}'");
      if (!is_word_start(peek())) refuse("expected a name, a block or '}'");
      DocPosition key_at = here();
      std::string key = word();
      skip(true);
      HclValue value;
      if (peek() == '=') {
        if (peek(1) == '=') refuse("operators are not supported");
        ++at_;
        skip(true);
        value = expression(depth + 1);
        skip(true);
        bool ended = done() || peek() == '\n' || peek() == end || peek() == ';' || is_word_start(peek());
        if (!ended) refuse("only plain values are supported here: no operators, calls or references");
        if (peek() == ';') refuse("';' is not HCL: write attributes on lines of their own");
      } else {
        value = block(depth + 1);
      }
      value.key_at = key_at;
      count();
      into.entries.push_back({std::move(key), std::move(value)});
    }
    if (end != '\0') ++at_;
  }

  HclValue block(size_t depth) {
    HclValue out;
    out.kind = DocKind::map;
    out.block = true;
    out.at = here();
    while (peek() == '"' || is_word_start(peek())) {
      out.labels.push_back(peek() == '"' ? quoted() : word());
      skip(true);
    }
    if (peek() != '{') refuse("expected '=' or '{'");
    ++at_;
    body(out, '}', depth);
    return out;
  }

  HclValue expression(size_t depth) {
    if (depth > limits::kDocumentDepthMax) refuse("nested too deeply (kDocumentDepthMax)");
    HclValue out;
    out.at = here();
    char c = peek();
    if (c == '"') {
      out.kind = DocKind::string;
      out.text = quoted();
    } else if (c == '[') {
      list(out, depth);
    } else if (c == '{') {
      object(out, depth);
    } else if (c == '-' || std::isdigit(static_cast<unsigned char>(c)) != 0) {
      out.kind = DocKind::plain;
      size_t start = at_++;
      while (is_word(peek()) || peek() == '.' || ((peek() == '+') && (text_[at_ - 1] == 'e' || text_[at_ - 1] == 'E')))
        ++at_;
      out.text = text_.substr(start, at_ - start);
      if (out.text.find_first_not_of("-+.eE0123456789") != std::string::npos) {
        at_ = start;
        refuse("not a number: put \"" + out.text + "\" in quotes");
      }
    } else if (is_word_start(c)) {
      size_t start = at_;
      std::string name = word();
      if (name == "true" || name == "false") {
        out.kind = DocKind::plain;
        out.text = name;
      } else if (name == "null") {
        out.kind = DocKind::null;
      } else {
        at_ = start;
        refuse("\"" + name + "\" is not a value: references and functions are not supported; strings stand in quotes");
      }
    } else if (c == '<' && peek(1) == '<') {
      refuse("heredocs are not supported: write a string with \\n");
    } else {
      refuse("expected a value");
    }
    count();
    return out;
  }

  void list(HclValue& out, size_t depth) {
    out.kind = DocKind::list;
    ++at_;
    while (true) {
      skip();
      if (peek() == ']') break;
      out.entries.push_back({std::string(), expression(depth + 1)});
      skip();
      if (peek() == ',')
        ++at_;
      else if (peek() != ']')
        refuse(done() ? "a list is not closed: expected ']'" : "expected ',' or ']'");
    }
    ++at_;
  }

  void object(HclValue& out, size_t depth) {
    out.kind = DocKind::map;
    ++at_;
    while (true) {
      skip();
      if (peek() == '}') break;
      if (peek() != '"' && !is_word_start(peek()))
        refuse(done() ? "an object is not closed: expected '}'" : "expected a key");
      DocPosition key_at = here();
      std::string key = peek() == '"' ? quoted() : word();
      skip();
      if (peek() != '=' && peek() != ':') refuse("expected '='");
      ++at_;
      skip();
      HclValue value = expression(depth + 1);
      value.key_at = key_at;
      out.entries.push_back({std::move(key), std::move(value)});
      skip(true);
      bool separated = peek() == ',' || peek() == '\n';
      if (separated) ++at_;
      skip();
      if (!separated && peek() != '}') refuse("expected ',' or '}'");
    }
    ++at_;
  }

  std::string quoted() {
    size_t start = at_++;
    std::string out;
    while (true) {
      if (done() || peek() == '\n') {
        at_ = start;
        refuse("a string is not closed");
      }
      char c = text_[at_++];
      if (c == '"') return out;
      if ((c == '$' || c == '%') && peek() == '{') {
        --at_;
        refuse("interpolation is not supported: write $${ for the text ${");
      }
      if ((c == '$' || c == '%') && peek() == c && peek(1) == '{') {  // $${ is the text ${
        ++at_;
        out += c;
        out += '{';
        ++at_;
        continue;
      }
      if (c != '\\') {
        out += c;
        continue;
      }
      switch (char e = peek()) {
        case 'n': out += '\n'; break;
        case 't': out += '\t'; break;
        case 'r': out += '\r'; break;
        case '"':
        case '\\': out += e; break;
        default: refuse("no such escape in a string: write \\n, \\t, \\r, \\\" or \\\\");
      }
      ++at_;
    }
  }

  void count() {
    if (++values_ > limits::kDocumentNodesMax)
      refuse("more than " + std::to_string(limits::kDocumentNodesMax) + " values (kDocumentNodesMax)");
  }

  std::string_view text_;
  size_t at_ = 0;
  size_t values_ = 0;
  size_t marked_ = 0;
  DocPosition mark_{1, 1};
};

// Writes the tree as a job's document.
class JobMapper {
 public:
  explicit JobMapper(DocumentBuilder& builder) : builder_(builder) {}

  void file(const HclValue& root) {
    const HclValue* job = nullptr;
    for (const auto& [key, value] : root.entries) {
      if (key != "job" || !value.block) refuse(value.key_at, "only a job block may stand here: job \"name\" { … }");
      if (job != nullptr) refuse(value.key_at, "one job per file");
      job = &value;
    }
    if (job == nullptr) refuse({1, 1}, "there is no job block: job \"name\" { … }");
    one_label(*job, "job");
    uint32_t at = builder_.open(DocKind::map);
    builder_.node(at).at = job->at;
    text_entry("job", job->labels[0], job->at);
    for (const auto& [key, value] : job->entries) {
      if (is_work(key, value)) continue;
      entry(key, value);
    }
    builder_.key("tasks", job->at);
    builder_.open(DocKind::list);
    for (const auto& [key, value] : job->entries) {
      if (key == "task" && value.block) task(value, nullptr);
      if (key == "group" && value.block) group(value);
    }
    builder_.close();
    builder_.close();
  }

 private:
  [[noreturn]] static void refuse(DocPosition at, std::string message) { throw Refused{at, std::move(message)}; }
  static bool is_work(std::string_view key, const HclValue& value) {
    return value.block && (key == "task" || key == "group");
  }
  static void one_label(const HclValue& value, std::string_view what) {
    if (value.labels.size() == 1) return;
    refuse(value.at, "a " + std::string(what) + " has one name: " + std::string(what) + " \"name\" { … }");
  }

  void group(const HclValue& value) {
    one_label(value, "group");
    for (const auto& [key, inner] : value.entries) {
      if ((key == "task" && inner.block) || (key == "count" && !inner.block)) continue;
      refuse(inner.key_at,
             "\"" + key + "\" cannot stand in a group: a group has count and task blocks; write it in the tasks");
    }
    bool any = false;
    for (const auto& [key, inner] : value.entries) {
      if (key != "task") continue;
      any = true;
      task(inner, &value);
    }
    if (!any) refuse(value.at, "a group has at least one task");
  }

  void task(const HclValue& value, const HclValue* group) {
    one_label(value, "task");
    uint32_t at = builder_.open(DocKind::map);
    builder_.node(at).at = value.at;
    text_entry("name", value.labels[0], value.at);
    if (group != nullptr) {
      text_entry("group", group->labels[0], group->at);
      for (const auto& [key, inner] : group->entries) {
        if (key == "count") entry(key, inner);
      }
    }
    for (const auto& [key, inner] : value.entries) {
      if (inner.block && (key == "port" || key == "volume" || key == "health")) continue;
      entry(key, inner);
    }
    labelled(value, "port", "ports", "name");
    labelled(value, "volume", "volumes", "source");
    labelled(value, "health", "health", "name");
    builder_.close();
  }

  // port "http" { … } … becomes ports: [{name: http, …} …].
  void labelled(const HclValue& task, std::string_view block, std::string_view field, std::string_view label_field) {
    bool open = false;
    for (const auto& [key, value] : task.entries) {
      if (key != block || !value.block) continue;
      if (!open) {
        builder_.key(field, value.key_at);
        builder_.open(DocKind::list);
        open = true;
      }
      if (value.labels.size() > 1) one_label(value, block);
      uint32_t at = builder_.open(DocKind::map);
      builder_.node(at).at = value.at;
      if (!value.labels.empty()) text_entry(label_field, value.labels[0], value.at);
      for (const auto& [name, inner] : value.entries) entry(name, inner);
      builder_.close();
    }
    if (open) builder_.close();
  }

  void text_entry(std::string_view key, std::string text, DocPosition at_position) {
    builder_.key(key, at_position);
    uint32_t at = builder_.add(DocKind::string);
    std::string_view kept = builder_.keep(std::move(text));
    builder_.node(at).text = kept;
    builder_.node(at).at = at_position;
  }

  void entry(const std::string& key, const HclValue& value) {
    if (!value.labels.empty()) {
      refuse(value.key_at, "the block \"" + key + "\" takes no name (job, group, task, port, volume and health do)");
    }
    builder_.key(key, value.key_at);
    plain(value);
  }

  void plain(const HclValue& value) {
    bool branch = value.kind == DocKind::list || value.kind == DocKind::map;
    uint32_t at = branch ? builder_.open(value.kind) : builder_.add(value.kind);
    builder_.node(at).at = value.at;
    if (!branch) {
      std::string_view kept = builder_.keep(value.text);
      builder_.node(at).text = kept;
      return;
    }
    for (const auto& [key, inner] : value.entries) {
      if (value.kind == DocKind::map)
        entry(key, inner);
      else
        plain(inner);
    }
    builder_.close();
  }

  DocumentBuilder& builder_;
};

}  // namespace

Result<Document> parse_hcl_document(std::string_view text) {
  TUTTI_CHECK(check_text(text));
  try {
    DocumentBuilder builder;
    JobMapper(builder).file(HclParser(text).file());
    return builder.finish();
  } catch (const Refused& refused) {
    return fail(ErrorCode::invalid, "not usable HCL: " + refused.message + " (" + to_text(refused.at) + ")");
  }
}

}  // namespace tutti
