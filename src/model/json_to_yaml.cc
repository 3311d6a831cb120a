#include <algorithm>

#include "base/text.h"
#include "model/codec.h"
#include "model/decoder.h"

// JSON as YAML for people. What could be read as anything but this very string is written in double quotes,
// in JSON's escapes, which YAML reads too.

namespace tutti {
namespace {

bool safe_plain(std::string_view text) {
  if (text.empty() || text.size() > 200) return false;
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '/'; };
  auto inner = [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '@'; };
  if (!letter(text[0]) || !std::ranges::all_of(text, inner)) return false;
  static constexpr std::string_view kWords[] = {"true", "false", "yes",  "no",  "on", "off",
                                                "y",    "n",     "null", "inf", "nan"};
  return std::ranges::find(kWords, to_lower(text)) == std::end(kWords);
}

void write_text(std::string& out, std::string_view text) {
  if (safe_plain(text))
    out += text;
  else
    append_json_string(out, text);
}

class YamlWriter {
 public:
  YamlWriter(std::string& out, const Document& document) : out_(out), document_(document) {}

  // `indent` spaces stand before every further line; `inlined`: the first entry goes on the current line ("- ").
  void value(uint32_t at, size_t indent, bool inlined) {
    const DocNode& n = document_[at];
    bool branch = n.kind == DocKind::list || n.kind == DocKind::map;
    if (!branch || n.count == 0) {
      if (!inlined) out_ += ' ';
      if (n.kind == DocKind::string)
        write_text(out_, n.text);
      else
        codec::append_document_json(out_, document_, at);
      out_ += '\n';
      return;
    }
    if (!inlined) out_ += '\n';
    uint32_t child = at + 1;
    for (uint32_t i = 0; i < n.count; ++i, child = document_[child].next) {
      if (i != 0 || !inlined) out_.append(indent, ' ');
      if (n.kind == DocKind::list) {
        out_ += "- ";
        value(child, indent + 2, true);
      } else {
        write_text(out_, document_[child].key);
        out_ += ':';
        value(child, indent + 2, false);
      }
    }
  }

 private:
  std::string& out_;
  const Document& document_;
};

}  // namespace

Result<std::string> json_to_yaml(std::string_view json) {
  TUTTI_TRY(Document document, parse_json_document(json));
  std::string out;
  YamlWriter(out, document).value(0, 0, true);
  return out;
}

}  // namespace tutti
