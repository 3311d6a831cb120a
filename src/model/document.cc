#include "model/document.h"

#include <simdjson.h>

#include "base/limits.h"
#include "model/json_scan.h"

namespace tutti {
namespace {

std::string too_many_nodes() {
  return "the document has more than " + std::to_string(limits::kDocumentNodesMax) + " values (kDocumentNodesMax)";
}
std::string too_deep() {
  return "the document is nested deeper than " + std::to_string(limits::kDocumentDepthMax) + " (kDocumentDepthMax)";
}

void add_json(DocumentBuilder& builder, simdjson::dom::element element) {
  using simdjson::dom::element_type;
  if (builder.broken()) return;
  switch (element.type()) {
    case element_type::ARRAY: {
      builder.open(DocKind::list);
      for (simdjson::dom::element child : simdjson::dom::array(element)) add_json(builder, child);
      builder.close();
      return;
    }
    case element_type::OBJECT: {
      builder.open(DocKind::map);
      for (auto [key, child] : simdjson::dom::object(element)) {
        builder.key_view(key);
        add_json(builder, child);
      }
      builder.close();
      return;
    }
    case element_type::INT64: builder.node(builder.add(DocKind::integer)).integer = int64_t(element); return;
    case element_type::UINT64:
      builder.node(builder.add(DocKind::unsigned_integer)).unsigned_integer = uint64_t(element);
      return;
    case element_type::DOUBLE: builder.node(builder.add(DocKind::real)).real = double(element); return;
    case element_type::STRING: builder.node(builder.add(DocKind::string)).text = std::string_view(element); return;
    case element_type::BOOL: builder.node(builder.add(DocKind::boolean)).boolean = bool(element); return;
    case element_type::NULL_VALUE: builder.add(DocKind::null); return;
  }
}

tl::unexpected<Error> json_error(std::string_view text, simdjson::error_code code) {
  if (code == simdjson::DEPTH_ERROR) return fail(ErrorCode::too_large, too_deep());
  if (auto fault = find_json_fault(text))
    return fail(ErrorCode::invalid, "not valid JSON: " + fault->message + " (" + to_text(fault->at) + ")");
  return fail(ErrorCode::invalid, std::string("not valid JSON: ") + simdjson::error_message(code));
}

}  // namespace

std::string to_text(DocPosition at) {
  if (at.line == 0) return {};
  return "line " + std::to_string(at.line) + ", column " + std::to_string(at.column);
}

DocPosition Document::position(uint32_t node) const {
  if (source_.empty()) return nodes_[node].at;
  return find_json_node(source_, node).value;
}

DocPosition Document::key_position(uint32_t node) const {
  if (source_.empty()) return nodes_[node].key_at.line != 0 ? nodes_[node].key_at : nodes_[node].at;
  return find_json_node(source_, node).key;
}

uint32_t DocumentBuilder::add(DocKind kind) {
  uint32_t index = document_.size();
  if (index >= limits::kDocumentNodesMax) {
    if (!error_) error_ = Error{ErrorCode::too_large, too_many_nodes(), {}, 0};
    return index - 1;  // a node that exists: what is written there is never read
  }
  DocNode& node = document_.nodes_.emplace_back();
  node.kind = kind;
  node.next = index + 1;
  node.key = key_;
  node.key_at = key_at_;
  key_ = {};
  key_at_ = {};
  if (!open_.empty()) ++document_.nodes_[open_.back()].count;
  return index;
}

uint32_t DocumentBuilder::open(DocKind kind) {
  if (open_.size() >= limits::kDocumentDepthMax && !error_) error_ = Error{ErrorCode::too_large, too_deep(), {}, 0};
  uint32_t index = add(kind);
  open_.push_back(index);
  return index;
}

void DocumentBuilder::close() {
  TUTTI_INVARIANT(!open_.empty(), "close without open");
  document_.nodes_[open_.back()].next = document_.size();
  open_.pop_back();
}

void DocumentBuilder::key(std::string_view key, DocPosition at) {
  key_ = keep(std::string(key));
  key_at_ = at;
}

std::string_view DocumentBuilder::keep(std::string text) {
  return document_.strings_.emplace_front(std::move(text));
}

void DocumentBuilder::copy(uint32_t from) {
  uint32_t end = document_.nodes_[from].next;
  uint32_t to = document_.size();
  if (to + (end - from) > limits::kDocumentNodesMax || broken()) {
    if (!error_) error_ = Error{ErrorCode::too_large, too_many_nodes(), {}, 0};
    return;
  }
  for (uint32_t i = from; i < end; ++i) {
    DocNode node = document_.nodes_[i];
    node.next += to - from;
    if (i == from) node.key = key_, node.key_at = key_at_;
    document_.nodes_.push_back(node);
  }
  key_ = {};
  key_at_ = {};
  if (!open_.empty()) ++document_.nodes_[open_.back()].count;
}

Result<Document> DocumentBuilder::finish() {
  if (error_) return tl::make_unexpected(std::move(*error_));
  TUTTI_INVARIANT(open_.empty(), "document not closed");
  return std::move(document_);
}

Status check_text(std::string_view text) {
  if (text.size() > limits::kRequestBodyBytesMax) {
    return fail(ErrorCode::too_large, "the document is larger than " + std::to_string(limits::kRequestBodyBytesMax) +
                                          " bytes (kRequestBodyBytesMax)");
  }
  if (!simdjson::validate_utf8(text.data(), text.size())) return fail(ErrorCode::invalid, "the text is not UTF-8");
  return {};
}

Result<Document> parse_json_document(std::string_view text) {
  TUTTI_CHECK(check_text(text));
  auto parser = std::make_shared<simdjson::dom::parser>();
  // The copy is padded for simdjson, and kept for positions. One level more than ours, so that our message is seen.
  std::string source;
  source.reserve(text.size() + simdjson::SIMDJSON_PADDING);
  source = text;
  if (auto code = parser->allocate(text.size() + 64, limits::kDocumentDepthMax + 2)) return json_error(text, code);
  simdjson::dom::element root;
  if (auto code = parser->parse(source.data(), source.size(), false).get(root)) return json_error(text, code);
  DocumentBuilder builder;
  builder.reserve(16 + text.size() / 8);  // of the densest messages; what is not touched costs nothing
  add_json(builder, root);
  TUTTI_TRY(Document document, builder.finish());
  document.parser_ = std::move(parser);
  document.source_ = std::move(source);
  return document;
}

}  // namespace tutti
