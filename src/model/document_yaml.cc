#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <map>
#include <sstream>

#include "base/limits.h"
#include "model/document.h"

// YAML by yaml-cpp's events. Scalars without quotes keep their text: the type that they are decoded to decides
// (so `no` is a word for a string and refused for a boolean, and 0755 is never 493). Aliases are copies, bounded by
// the document's limits: in nodes, and in the bytes that they stand for. Merge keys, tags, several documents and keys
// that are not text are refused.

namespace tutti {
namespace {

struct Refused {
  YAML::Mark mark;
  std::string message;
  ErrorCode code = ErrorCode::invalid;
};

DocPosition position(const YAML::Mark& mark) {
  if (mark.line < 0) return {};
  return {static_cast<uint32_t>(mark.line) + 1, static_cast<uint32_t>(mark.column) + 1};
}

class Events final : public YAML::EventHandler {
 public:
  explicit Events(DocumentBuilder& builder) : builder_(builder) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) throw Refused{mark, "more than one YAML document: put each into a file of its own"};
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (wants_key()) throw Refused{mark, "a key must be text"};
    finish_scalar(mark, builder_.add(DocKind::null), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (wants_key()) throw Refused{mark, "a key must be text, not an alias"};
    auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Refused{mark, "an alias inside of what it stands for"};
    const uint32_t first = builder_.size();
    builder_.copy(found->second);
    check(mark);
    // Here they are views of one text; whoever decodes them makes as many texts of them.
    for (uint32_t i = first; i < builder_.size(); ++i)
      copied_ += builder_.node(i).text.size() + builder_.node(i).key.size();
    if (copied_ > limits::kRequestBodyBytesMax)
      throw Refused{mark,
                    "the document's aliases stand for more than " + std::to_string(limits::kRequestBodyBytesMax) +
                        " bytes (kRequestBodyBytesMax)",
                    ErrorCode::too_large};
    after_value();
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (wants_key()) {
      if (value == "<<" && tag == "?") throw Refused{mark, "merge keys (<<) are not supported: write the fields out"};
      builder_.key(value, position(mark));
      levels_.back().has_key = true;
      return;
    }
    bool quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    if (!quoted && !tag.empty() && tag != "?") throw Refused{mark, "tags are not supported: " + tag};
    uint32_t at = builder_.add(quoted ? DocKind::string : DocKind::plain);
    builder_.node(at).text = builder_.keep(value);
    finish_scalar(mark, at, anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, DocKind::list);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, DocKind::map);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Level {
    bool map = false;
    bool has_key = false;
    uint32_t node = 0;
    YAML::anchor_t anchor = 0;
  };

  bool wants_key() const { return !levels_.empty() && levels_.back().map && !levels_.back().has_key; }
  void after_value() {
    if (!levels_.empty()) levels_.back().has_key = false;
  }
  void check(const YAML::Mark& mark) {
    if (builder_.broken()) throw Refused{mark, builder_.error()->message, ErrorCode::too_large};
  }
  void finish_scalar(const YAML::Mark& mark, uint32_t at, YAML::anchor_t anchor) {
    check(mark);
    builder_.node(at).at = position(mark);
    if (anchor != 0) anchors_[anchor] = at;
    after_value();
  }
  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, DocKind kind) {
    if (wants_key()) throw Refused{mark, "a key must be text"};
    if (!tag.empty() && tag != "?" && tag != "!") throw Refused{mark, "tags are not supported: " + tag};
    uint32_t at = builder_.open(kind);
    check(mark);
    builder_.node(at).at = position(mark);
    levels_.push_back({kind == DocKind::map, false, at, anchor});
  }
  void close() {
    if (levels_.back().anchor != 0) anchors_[levels_.back().anchor] = levels_.back().node;
    builder_.close();
    levels_.pop_back();
    after_value();
  }

  DocumentBuilder& builder_;
  std::vector<Level> levels_;
  std::map<YAML::anchor_t, uint32_t> anchors_;
  int documents_ = 0;
  size_t copied_ = 0;  // bytes of keys and texts that aliases stand for
};

std::string at(const YAML::Mark& mark) {
  std::string text = to_text(position(mark));
  return text.empty() ? text : " (" + text + ")";
}

}  // namespace

Result<Document> parse_yaml_document(std::string_view text) {
  TUTTI_CHECK(check_text(text));
  DocumentBuilder builder;
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    Events events(builder);
    while (parser.HandleNextDocument(events)) {
    }
  } catch (const Refused& refused) {
    return fail(refused.code, "not usable YAML: " + refused.message + at(refused.mark));
  } catch (const YAML::Exception& e) {
    return fail(ErrorCode::invalid, "not valid YAML: " + e.msg + at(e.mark));
  } catch (const std::exception& e) {
    return fail(ErrorCode::invalid, std::string("not valid YAML: ") + e.what());
  }
  if (builder.size() == 0) return fail(ErrorCode::invalid, "the document is empty");
  return builder.finish();
}

}  // namespace tutti
