#pragma once
// Paging for every list route: ?limit=, ?cursor= (the last id seen), ?watch.
//
// A short page is one answer. A long one is streamed, made piece by piece as the client takes it, all of one snapshot:
// twenty thousand rows cost the manager no more memory than a hundred.

#include <algorithm>
#include <memory>

#include "base/limits.h"
#include "manager/api/call.h"

namespace tutti::manager {

// The rows of one page, on their way. Owned by its answer; on the I/O thread of the connection.
template <class Row, class Keep, class Show>
class ListPage {
 public:
  ListPage(CallPtr call, Table<Row> table, Keep keep, Show show, uint64_t from, size_t limit)
      : call_(std::move(call)),
        table_(std::move(table)),
        keep_(std::move(keep)),
        show_(std::move(show)),
        next_(from),
        limit_(limit) {}

  // Appends rows until so many bytes are there. True: that was all, and the end is written.
  bool fill(std::string& out, size_t bytes) {
    bool more = false;
    const bool ended = table_.for_each_from(next_, [&](uint64_t id, const Row& row) {
      if (out.size() >= bytes) return false;
      next_ = id + 1;
      if (!with(keep_, id, row)) return true;
      if (count_ == limit_) {
        more = true;
        return false;
      }
      if (count_++ > 0) out += ',';
      out += with(show_, id, row);
      last_ = id;
      return true;
    });
    if (!ended && !more) return false;
    out += "],\"revision\":\"" + to_text(Cursor{call_->state->epoch, call_->state->revision}) + "\"";
    if (more) out += ",\"cursor\":\"" + id_text(last_) + "\"";
    out += '}';
    return true;
  }

  void stream(std::shared_ptr<ListPage> self, std::string begun) {
    net::Response head;
    head.headers = {{"X-Request-Id", call_->request_id}};
    writer_ = call_->responder->stream(std::move(head), kPendingBytes);
    if (!writer_->write(std::move(begun))) return;
    writer_->on_drained([self] { self->go_on(); });
    go_on();
  }

  static constexpr size_t kPieceBytes = 64u << 10;
  static constexpr size_t kPendingBytes = 4 * kPieceBytes;

 private:
  template <class F>
  static auto with(F& f, uint64_t id, const Row& row) {
    if constexpr (std::is_same_v<Row, Unit>)
      return f(id);
    else
      return f(row);
  }
  void go_on() {
    while (writer_->pending_bytes() < kPendingBytes / 2) {
      std::string piece;
      piece.reserve(kPieceBytes + 1024);
      const bool ended = fill(piece, kPieceBytes);
      if (!writer_->write(std::move(piece))) return;
      if (ended) return writer_->finish();
    }
  }

  const CallPtr call_;
  const Table<Row> table_;
  Keep keep_;
  Show show_;
  uint64_t next_;
  const size_t limit_;
  size_t count_ = 0;
  uint64_t last_ = 0;
  std::shared_ptr<net::BodyWriter> writer_;
};

// What is made for the answer and has no pages.
template <class Row>
void answer_rows(const Call& call, const std::vector<Row>& rows) {
  std::string body = "{\"items\":[";
  for (const Row& row : rows) {
    if (&row != rows.data()) body += ',';
    append_json(body, row);
  }
  answer_json(call, 200, body + "]}");
}

// `keep` and `show` take the row; for a set of ids (an index) they take the id. They may be called after this returns:
// what they refer to belongs to `call`.
template <class Row, class Keep, class Show>
void answer_list(CallPtr call, Table<Row> table, Keep keep, Show show) {
  size_t limit = limits::kListRowsMax;
  if (const std::string text = call->query("limit"); !text.empty()) {
    const long wanted = std::atol(text.c_str());
    if (wanted <= 0) {
      return answer_error(*call, Error{ErrorCode::invalid,
                                       "limit is a number from 1 to " + std::to_string(limits::kListStreamedRowsMax),
                                       {{"limit", "not a number above 0", "limit=100"}},
                                       0});
    }
    limit = std::min(limits::kListStreamedRowsMax, static_cast<size_t>(wanted));
  }
  uint64_t from = 0;
  if (const std::string text = call->query("cursor"); !text.empty()) {
    Result<uint64_t> last = parse_id_text(text);
    if (!last) return answer_error(*call, Error{ErrorCode::invalid, "cursor is not one that a list gave out", {}, 0});
    from = *last + 1;
  }
  using Page = ListPage<Row, Keep, Show>;
  auto page = std::make_shared<Page>(call, std::move(table), std::move(keep), std::move(show), from, limit);
  std::string body = "{\"items\":[";
  if (page->fill(body, 2 * Page::kPieceBytes)) return answer_json(*call, 200, std::move(body));
  Page* const one = page.get();
  one->stream(std::move(page), std::move(body));
}

}  // namespace tutti::manager
