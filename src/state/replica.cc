#include "state/replica.h"

#include <algorithm>

#include "state/draft.h"
#include "state/row_codec.h"

namespace tutti::state {
namespace {

constexpr size_t kFrameBytes = 512u << 10;

uint64_t pages_of(const Snapshot& s, TableId table) {
  const auto pages = [](const auto& rows) { return rows.size() == 0 ? 0 : (rows.last_key() >> kPageBits) + 1; };
  switch (table) {
    case TableId::pool: return 1;
    case TableId::project: return pages(s.projects);
    case TableId::node: return pages(s.nodes);
    case TableId::job: return pages(s.jobs);
    case TableId::version: return pages(s.versions);
    case TableId::instance: return pages(s.instances);
    default: return 0;
  }
}

}  // namespace

bool is_replicated(TableId table) {
  return table == TableId::pool || table == TableId::project || table == TableId::node || table == TableId::job ||
         table == TableId::version || table == TableId::instance;
}

std::string PageReader::next() {
  std::string page = std::move(rest_);
  rest_.clear();
  while (page.empty() && table_ < kTableCount) {
    const auto table = static_cast<TableId>(table_);
    if (!is_replicated(table) || page_ >= pages_of(*snapshot_, table)) {
      ++table_;
      page_ = 0;
      continue;
    }
    page = encode_page(*snapshot_, table, page_++);
  }
  if (page.size() <= kFrameBytes) return page;
  // Cut behind the last row that fits; the first one goes whole.
  const size_t head = page.find('\n') + 1;
  size_t cut = page.rfind('\n', kFrameBytes) + 1;
  if (cut <= head) cut = page.find('\n', head) + 1;
  if (cut < page.size()) rest_ = page.substr(0, head) + page.substr(cut);
  page.resize(cut);
  return page;
}

std::string changes_for_replica(const std::vector<WatchEvent>& events, Revision revision, Time now) {
  std::vector<WatchEvent> wanted;
  std::copy_if(events.begin(), events.end(), std::back_inserter(wanted),
               [](const WatchEvent& event) { return is_replicated(event.table); });
  return encode_batch({revision.value, 0, now.ns}, wanted);
}

Result<std::shared_ptr<const ChangeSet>> Replica::receive(std::string_view text) {
  if (is_page(text)) {
    if (snapshot_ != nullptr) return fail(ErrorCode::internal, "pages of a snapshot in the middle of its changes");
    TUTTI_CHECK(load_page(loading_, TableEdit(), text));
    return std::shared_ptr<const ChangeSet>();
  }
  BatchHead head;
  TUTTI_TRY(const std::vector<WatchEvent> events, decode_batch(text, 0, head));
  if (snapshot_ == nullptr) {
    Draft indexes(loading_, loading_.now);
    indexes.rebuild_indexes();
    loading_ = indexes.take();
    loading_.revision = Revision{head.revision - 1};
    snapshot_ = std::make_shared<const Snapshot>(std::move(loading_));
  }
  auto changes = std::make_shared<ChangeSet>();
  changes->before = snapshot_;
  Snapshot base = *snapshot_;
  base.revision = Revision{head.revision - 1};
  Draft draft(base, Time{head.time_ns});
  for (const WatchEvent& event : events) {
    if (event.kind == WatchEvent::Kind::deleted)
      draft.erase(event.table, event.id);
    else
      TUTTI_CHECK(put_row(draft, event.table, event.row));
  }
  changes->rows = draft.rows();
  changes->after = snapshot_ = std::make_shared<const Snapshot>(draft.take());
  return std::shared_ptr<const ChangeSet>(std::move(changes));
}

}  // namespace tutti::state
