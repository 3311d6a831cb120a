#include "state/row_codec.h"

#include <zstd.h>

#include <charconv>

#include "model/codec.h"

namespace tutti::state {
namespace {

constexpr size_t kTextBytesMax = 256u << 20;
constexpr std::string_view kMagic = "tutti 1";

template <class F>
auto with_table(Snapshot& s, TableId table, F&& f) {
  switch (table) {
    case TableId::project: return f(s.projects);
    case TableId::node: return f(s.nodes);
    case TableId::job: return f(s.jobs);
    case TableId::version: return f(s.versions);
    case TableId::instance: return f(s.instances);
    case TableId::volume: return f(s.volumes);
    case TableId::image: return f(s.images);
    case TableId::token: return f(s.tokens);
    case TableId::operation: return f(s.operations);
    case TableId::event: return f(s.events);
    case TableId::idempotency: return f(s.idempotency);
    case TableId::pool: break;
  }
  TUTTI_INVARIANT(false, "a table without rows");
  return f(s.projects);
}

template <class T>
struct RowOf;
template <class V>
struct RowOf<Table<V>> {
  using type = V;
};

bool next_number(std::string_view& text, uint64_t& value) {
  const char* end = text.data() + text.size();
  auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<size_t>(at - text.data()));
  if (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return true;
}

struct Line {
  TableId table = TableId::pool;
  uint64_t id = 0;
  char kind = 'u';
  std::string_view json;
};

// Calls `each` per row line; `text` begins behind the first line.
Status each_line(std::string_view text, const std::function<Status(const Line&)>& each) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view row = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    Line line;
    uint64_t table = 0;
    if (!next_number(row, table) || !next_number(row, line.id) || row.size() < 2 || table >= kTableCount) {
      return fail(ErrorCode::internal, "the store holds a row that this version cannot read");
    }
    line.table = static_cast<TableId>(table);
    line.kind = row[0];
    line.json = row.substr(2);
    TUTTI_CHECK(each(line));
  }
  return {};
}

void append_line(std::string& out, TableId table, uint64_t id, char kind, std::string_view json) {
  out += std::to_string(static_cast<int>(table)) + ' ' + std::to_string(id) + ' ' + kind + ' ';
  out += json;
  out += '\n';
}

}  // namespace

std::string encode_row(const Snapshot& snapshot, TableId table, uint64_t id) {
  constexpr EncodeOptions kOptions{.omit_defaults = true};
  if (table == TableId::pool) return to_json(snapshot.pool, kOptions);
  return with_table(const_cast<Snapshot&>(snapshot), table, [&](auto& rows) {
    const auto* row = rows.find(id);
    return row == nullptr ? std::string() : to_json(*row, kOptions);
  });
}

namespace {

// What a row's JSON does not say when it is empty, yet is never null.
template <class Row>
void complete(Row& row) {
  if constexpr (std::is_same_v<Row, Instance>) {
    if (!row.detail) row.detail = std::make_shared<const InstanceDetail>();
  }
  if constexpr (std::is_same_v<Row, JobVersion>) {
    if (!row.spec) row.spec = std::make_shared<const JobSpec>();
  }
}

constexpr std::string_view kStoredRow = "stored row";

}  // namespace

Status load_row(Snapshot& snapshot, const TableEdit& edit, TableId table, uint64_t id, std::string_view json) {
  const DecodeOptions options{.allow_unknown = true, .what = kStoredRow};
  if (table == TableId::pool) {
    TUTTI_TRY(snapshot.pool, from_json<Pool>(json, options));
    snapshot.epoch = snapshot.pool.epoch;
    return {};
  }
  return with_table(snapshot, table, [&](auto& rows) -> Status {
    using Row = typename RowOf<std::remove_reference_t<decltype(rows)>>::type;
    TUTTI_TRY(Row row, from_json<Row>(json, options));
    complete(row);
    rows.put(edit, id, std::move(row));
    return {};
  });
}

Status put_row(Draft& draft, TableId table, std::string_view json) {
  const DecodeOptions options{.allow_unknown = true, .what = kStoredRow};
  if (table == TableId::pool) {
    TUTTI_TRY(Pool pool, from_json<Pool>(json, options));
    draft.put(std::move(pool));
    return {};
  }
  return with_table(const_cast<Snapshot&>(draft.state()), table, [&](auto& rows) -> Status {
    using Row = typename RowOf<std::remove_reference_t<decltype(rows)>>::type;
    TUTTI_TRY(Row row, from_json<Row>(json, options));
    complete(row);
    draft.put(std::move(row));
    return {};
  });
}

void drop_row(Snapshot& snapshot, const TableEdit& edit, TableId table, uint64_t id) {
  if (table == TableId::pool) return;
  with_table(snapshot, table, [&](auto& rows) { rows.erase(edit, id); });
}

std::string encode_batch(const BatchHead& head, const std::vector<WatchEvent>& events) {
  std::string out(kMagic);
  out += ' ' + std::to_string(head.revision) + ' ' + std::to_string(head.next_id) + ' ' + std::to_string(head.time_ns) +
         '\n';
  for (const WatchEvent& event : events) {
    const char kind = event.kind == WatchEvent::Kind::created   ? 'c'
                      : event.kind == WatchEvent::Kind::updated ? 'u'
                                                                : 'd';
    append_line(out, event.table, event.id, kind, event.row);
  }
  return out;
}

Result<std::vector<WatchEvent>> decode_batch(std::string_view text, uint64_t epoch, BatchHead& head) {
  const size_t end = text.find('\n');
  std::string_view first = text.substr(0, end);
  uint64_t time_ns = 0;
  if (end == std::string_view::npos || !first.starts_with(kMagic))
    return fail(ErrorCode::internal, "the store holds a batch of another format");
  first.remove_prefix(kMagic.size() + 1);
  if (!next_number(first, head.revision) || !next_number(first, head.next_id) || !next_number(first, time_ns)) {
    return fail(ErrorCode::internal, "the store holds a damaged batch");
  }
  head.time_ns = static_cast<int64_t>(time_ns);
  std::vector<WatchEvent> out;
  TUTTI_CHECK(each_line(text.substr(end + 1), [&](const Line& line) -> Status {
    WatchEvent event;
    event.cursor = {epoch, Revision{head.revision}};
    event.table = line.table;
    event.id = line.id;
    event.kind = line.kind == 'c'   ? WatchEvent::Kind::created
                 : line.kind == 'd' ? WatchEvent::Kind::deleted
                                    : WatchEvent::Kind::updated;
    event.row = std::string(line.json);
    out.push_back(std::move(event));
    return {};
  }));
  return out;
}

std::string encode_page(const Snapshot& snapshot, TableId table, uint64_t number) {
  std::string out;
  auto add = [&](uint64_t id, std::string_view json) {
    if (out.empty()) out = std::string(kMagic) + '\n';
    append_line(out, table, id, 'c', json);
  };
  if (table == TableId::pool) {
    if (number == 0) add(1, encode_row(snapshot, table, 1));
    return out;
  }
  with_table(const_cast<Snapshot&>(snapshot), table, [&](auto& rows) {
    rows.for_each_in(number << kPageBits, (number + 1) << kPageBits, [&](uint64_t id, const auto& row) {
      add(id, to_json(row, EncodeOptions{.omit_defaults = true}));
    });
  });
  return out;
}

bool is_page(std::string_view text) {
  return text.substr(0, text.find('\n')) == kMagic;
}

Status load_page(Snapshot& snapshot, const TableEdit& edit, std::string_view text) {
  const size_t end = text.find('\n');
  if (!is_page(text)) return fail(ErrorCode::internal, "the store holds a page of another format");
  return each_line(text.substr(end + 1),
                   [&](const Line& line) { return load_row(snapshot, edit, line.table, line.id, line.json); });
}

struct Packer::Contexts {
  ZSTD_CCtx* out = ZSTD_createCCtx();
  ZSTD_DCtx* in = ZSTD_createDCtx();
  ~Contexts() {
    ZSTD_freeCCtx(out);
    ZSTD_freeDCtx(in);
  }
};

Packer::Packer() : contexts_(std::make_unique<Contexts>()) {}
Packer::~Packer() = default;

Result<std::string> Packer::compress(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  const size_t size = ZSTD_compressCCtx(contexts_->out, out.data(), out.size(), text.data(), text.size(), 1);
  if (ZSTD_isError(size) != 0) return fail(ErrorCode::internal, std::string("zstd: ") + ZSTD_getErrorName(size));
  out.resize(size);
  return out;
}

Result<std::string> Packer::decompress(std::string_view bytes) {
  const unsigned long long size = ZSTD_getFrameContentSize(bytes.data(), bytes.size());
  if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || size > kTextBytesMax) {
    return fail(ErrorCode::internal, "the store holds a batch that cannot be unpacked: it is damaged");
  }
  std::string out(size, '\0');
  const size_t got = ZSTD_decompressDCtx(contexts_->in, out.data(), out.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(got) != 0 || got != size)
    return fail(ErrorCode::internal, "the store holds a batch that cannot be unpacked: it is damaged");
  return out;
}

}  // namespace tutti::state
