#pragma once
// Paging for every list route: ?limit=, ?cursor= (the last id seen), ?watch.

#include <algorithm>

#include "base/limits.h"
#include "manager/api/call.h"

namespace tutti::manager {

// `keep` and `show` take the row; for a set of ids (an index) they take the id.
template <class Row, class Keep, class Show>
void answer_list(const Call& call, const Table<Row>& table, Keep keep, Show show) {
  const auto with = [](auto& f, uint64_t id, const Row& row) {
    if constexpr (std::is_same_v<Row, Unit>) return f(id);
    else return f(row);
  };
  size_t limit = limits::kListRowsMax;
  if (const std::string text = call.query("limit"); !text.empty()) {
    const long wanted = std::atol(text.c_str());
    if (wanted <= 0) return answer_error(call, Error{ErrorCode::invalid, "limit is a number from 1 to 1000", {{"limit", "not a number above 0", "limit=100"}}, 0});
    limit = std::min(limit, static_cast<size_t>(wanted));
  }
  uint64_t from = 0;
  if (const std::string text = call.query("cursor"); !text.empty()) {
    Result<uint64_t> last = parse_id_text(text);
    if (!last) return answer_error(call, Error{ErrorCode::invalid, "cursor is not one that a list gave out", {}, 0});
    from = *last + 1;
  }
  std::string body = "{\"items\":[";
  size_t count = 0;
  uint64_t last = 0;
  bool more = false;
  table.for_each_from(from, [&](uint64_t id, const Row& row) {
    if (!with(keep, id, row)) return true;
    if (count == limit) {
      more = true;
      return false;
    }
    if (count++ > 0) body += ',';
    body += with(show, id, row);
    last = id;
    return true;
  });
  body += "],\"revision\":\"" + to_text(Cursor{call.state->epoch, call.state->revision}) + "\"";
  if (more) body += ",\"cursor\":\"" + id_text(last) + "\"";
  answer_json(call, 200, body + "}");
}

}  // namespace tutti::manager
