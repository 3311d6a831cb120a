#include "state/engine.h"

#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "state/apply.h"
#include "state/draft.h"
#include "state/row_codec.h"

namespace tutti::state {
namespace {

constexpr size_t kRecentEventsMax = 16'384;
constexpr uint64_t kCheckpointEvery = 2'000;  // batches
constexpr uint32_t kMetaTable = 255;          // a page of the next id and the time of the newest commit

// People read milliseconds; what is applied is what is shown.
Time whole_ms(Time t) {
  return {t.ns - t.ns % 1'000'000};
}

struct Queued {
  Command command;
  CommandMeta meta;
  Done done;
};

class EngineImpl final : public Engine {
 public:
  explicit EngineImpl(store::Store& store) : store_(store) {}

  Status open(Time now) override {
    TUTTI_TRY(const store::Opened opened, store_.open());
    forget();
    auto state = std::make_shared<Snapshot>();
    if (opened.epoch == 0) TUTTI_CHECK(store_.set_epoch(1));
    state->epoch = std::max<uint64_t>(1, opened.epoch);
    const TableEdit edit;
    TUTTI_CHECK(load_pages(*state, edit));
    state->revision = Revision{opened.checkpoint};
    TUTTI_CHECK(load_log(*state, edit, opened));
    Draft draft(*state, state->now);
    draft.rebuild_indexes();
    const Revision revision = state->revision;
    const Time committed = state->now;
    *state = draft.take();
    state->revision = revision;
    state->now = committed;
    checkpoint_revision_ = opened.checkpoint;
    {
      std::lock_guard lock(mutex_);
      snapshot_ = state;
      stopped_ = false;
      times_.emplace_back(now, revision.value);
    }
    return {};
  }

  void submit(Command command, CommandMeta meta, Done done) override {
    if (stopped_) return done(fail(ErrorCode::unavailable, "the manager's state is not available: try again"));
    if (queue_.size() >= limits::kCommandQueueMax) {
      Error error{ErrorCode::too_many, "too many commands are waiting (limit kCommandQueueMax): try again", {}, 1000};
      return done(tl::make_unexpected(std::move(error)));
    }
    queue_.push_back({std::move(command), std::move(meta), std::move(done)});
  }

  bool has_work() const override { return !queue_.empty(); }

  Status step(Time now) override {
    if (stopped_) return fail(ErrorCode::unavailable, "the engine is stopped");
    if (queue_.empty()) return {};
    std::vector<Queued> batch;
    std::vector<Result<Outcome>> results;
    const auto before = snapshot();
    Draft draft(*before, std::max(whole_ms(now), before->now));
    size_t rows = 0;
    while (!queue_.empty() && batch.size() < batch_commands_max_ && rows < limits::kCommandRowsMax) {
      Queued next = std::move(queue_.front());
      queue_.pop_front();
      results.push_back(apply(draft, next.command, next.meta, draft.now()));
      rows += draft.command_rows();
      batch.push_back(std::move(next));
    }
    const bool further = std::exchange(further_next_, true) && decide_further(before, draft);
    conclude(draft);
    if (!draft.changed()) {
      answer(batch, results, before->revision);
      return {};
    }
    return commit(before, draft, std::move(batch), std::move(results), further);
  }

  std::shared_ptr<const Snapshot> snapshot() const override {
    std::lock_guard lock(mutex_);
    return snapshot_;
  }
  void follow(Follower follower) override { followers_.push_back(std::move(follower)); }
  void decide_with(Decide decide) override { decide_ = std::move(decide); }

  bool checkpoint_due() const override {
    std::lock_guard lock(mutex_);
    return snapshot_ != nullptr && snapshot_->revision.value >= checkpoint_revision_ + kCheckpointEvery;
  }

  Status checkpoint(Time now) override {
    std::shared_ptr<const Snapshot> at;
    std::set<std::pair<TableId, uint64_t>> dirty;
    {
      std::lock_guard lock(mutex_);
      at = snapshot_;
      dirty.swap(dirty_);
    }
    Status written = write_pages(*at, dirty);
    std::lock_guard lock(mutex_);
    if (!written) {
      dirty_.insert(dirty.begin(), dirty.end());
      return written;
    }
    checkpoint_revision_ = at->revision.value;
    uint64_t trim = 0;
    while (!times_.empty() && now - times_.front().first > seconds(limits::kLogKeepSeconds)) {
      trim = times_.front().second;
      times_.pop_front();
    }
    times_.emplace_back(now, at->revision.value);
    return trim > 0 ? store_.trim_log(trim) : Status{};
  }

  Result<WatchBatch> events_after(Cursor from, size_t most) const override {
    WatchBatch out;
    {
      std::lock_guard lock(mutex_);
      if (from.epoch != snapshot_->epoch)
        return fail(ErrorCode::invalid, "this cursor is of another epoch (a restore came in between): list again");
      if (from.revision > snapshot_->revision)
        return fail(ErrorCode::invalid, "this cursor is ahead of the pool: list again");
      out.to = from;
      if (from.revision == snapshot_->revision) return out;
      if (!recent_.empty() && recent_.front().first <= from.revision.value + 1) {
        for (auto at = recent_.upper_bound_of(from.revision.value); at != recent_.end(); ++at) {
          if (!out.events.empty() && out.events.size() + at->second.size() > most) return out;
          out.events.insert(out.events.end(), at->second.begin(), at->second.end());
          out.to.revision = Revision{at->first};
        }
        return out;
      }
    }
    return events_from_log(from, most);
  }

 private:
  // One durable write less between what a user asks for and what comes of it. Whether anything came of it.
  bool decide_further(const std::shared_ptr<const Snapshot>& before, Draft& draft) {
    if (!decide_ || !draft.changed() || draft.touched() > kDecideRowsMax) return false;
    std::vector<Command> further;
    {
      ChangeSet so_far;
      so_far.rows = draft.rows();
      so_far.before = before;
      so_far.after = std::make_shared<const Snapshot>(draft.state());
      further = decide_(so_far, draft.now());
    }
    for (const Command& command : further) (void)apply(draft, command, {}, draft.now());
    return !further.empty();
  }

  // Opened again after an unknown outcome: what was gathered before may never have been.
  void forget() {
    std::lock_guard lock(mutex_);
    recent_.clear();
    recent_count_ = 0;
    dirty_.clear();
    times_.clear();
    batch_commands_max_ = limits::kBatchCommandsMax;
    further_next_ = true;
  }

  // Events of the newest commits, by revision, oldest first.
  struct Recent : std::deque<std::pair<uint64_t, std::vector<WatchEvent>>> {
    const_iterator upper_bound_of(uint64_t revision) const {
      return std::upper_bound(begin(), end(), revision, [](uint64_t r, const auto& entry) { return r < entry.first; });
    }
  };

  Status load_pages(Snapshot& state, const TableEdit& edit) {
    return store_.read_pages([&](const store::Page& page) -> Status {
      TUTTI_TRY(const std::string text, packer_.decompress(page.blob));
      if (page.table == kMetaTable) {
        char* rest = nullptr;
        state.next_id = std::strtoull(text.c_str(), &rest, 10);
        state.now = Time{std::strtoll(rest, nullptr, 10)};  // 0 where an older version wrote none
        return {};
      }
      return load_page(state, edit, text);
    });
  }

  Status load_log(Snapshot& state, const TableEdit& edit, const store::Opened& opened) {
    Status status;
    TUTTI_CHECK(store_.read_log(opened.checkpoint, [&](uint64_t revision, std::string_view blob) {
      status = replay(state, edit, blob);
      if (!status) status.error().message = "revision " + std::to_string(revision) + ": " + status.error().message;
      return status.has_value();
    }));
    return status;
  }

  Status replay(Snapshot& state, const TableEdit& edit, std::string_view blob) {
    TUTTI_TRY(const std::string text, packer_.decompress(blob));
    BatchHead head;
    TUTTI_TRY(std::vector<WatchEvent> events, decode_batch(text, state.epoch, head));
    for (const WatchEvent& event : events) {
      dirty_.insert({event.table, event.id >> kPageBits});
      if (event.kind == WatchEvent::Kind::deleted)
        drop_row(state, edit, event.table, event.id);
      else
        TUTTI_CHECK(load_row(state, edit, event.table, event.id, event.row));
    }
    state.revision = Revision{head.revision};
    state.next_id = head.next_id;
    state.now = Time{head.time_ns};
    remember(head.revision, std::move(events));
    return {};
  }

  static std::vector<WatchEvent> events_of(const Snapshot& before, const Snapshot& after,
                                           const std::vector<RowChange>& rows) {
    std::vector<WatchEvent> out;
    for (const RowChange& row : rows) {
      WatchEvent event;
      event.cursor = {after.epoch, after.revision};
      event.table = row.table;
      event.id = row.id;
      event.row = encode_row(after, row.table, row.id);
      if (event.row.empty()) {
        if (!had_row(before, row)) continue;  // made and gone in one batch
        event.kind = WatchEvent::Kind::deleted;
        event.row = says_nothing_gone(row.table) ? "{}" : encode_row(before, row.table, row.id);
      } else {
        event.kind = had_row(before, row) ? WatchEvent::Kind::updated : WatchEvent::Kind::created;
      }
      out.push_back(std::move(event));
    }
    return out;
  }

  // Rows that only made room for newer ones, and specs: nobody asks what they said, and those of one job alone may be
  // more than an append takes.
  static bool says_nothing_gone(TableId table) {
    return table == TableId::event || table == TableId::idempotency || table == TableId::version;
  }
  static bool had_row(const Snapshot& s, const RowChange& row) {
    switch (row.table) {
      case TableId::pool: return !s.pool.pool_id.empty();
      case TableId::project: return s.projects.contains(row.id);
      case TableId::node: return s.nodes.contains(row.id);
      case TableId::job: return s.jobs.contains(row.id);
      case TableId::version: return s.versions.contains(row.id);
      case TableId::instance: return s.instances.contains(row.id);
      case TableId::volume: return s.volumes.contains(row.id);
      case TableId::image: return s.images.contains(row.id);
      case TableId::token: return s.tokens.contains(row.id);
      case TableId::operation: return s.operations.contains(row.id);
      case TableId::event: return s.events.contains(row.id);
      case TableId::idempotency: return s.idempotency.contains(row.id);
    }
    return false;
  }

  Status commit(const std::shared_ptr<const Snapshot>& before, Draft& draft, std::vector<Queued> batch,
                std::vector<Result<Outcome>> results, bool further) {
    auto changes = std::make_shared<ChangeSet>();
    changes->rows = draft.rows();
    auto after = std::make_shared<const Snapshot>(draft.take());
    std::vector<WatchEvent> events = events_of(*before, *after, changes->rows);
    const std::string text = encode_batch({after->revision.value, after->next_id, after->now.ns}, events);
    // What packs well would be stored, and could not be read again.
    if (text.size() > kBatchTextBytesMax) return too_large(std::move(batch), further);
    const Result<std::string> packed = packer_.compress(text);
    if (!packed) {
      for (Queued& each : batch) each.done(tl::make_unexpected(packed.error()));
      return {};
    }
    const std::string& blob = *packed;
    if (blob.size() > limits::kAppendBlobBytesMax) return too_large(std::move(batch), further);
    batch_commands_max_ = limits::kBatchCommandsMax;
    const store::AppendResult appended = store_.append(after->revision.value, blob);
    if (appended.outcome == store::AppendOutcome::refused) {
      log_error("commit refused", {{"error", appended.error.to_string()}});
      Error error{ErrorCode::unavailable, "not stored: " + appended.error.message, {}, 1000};
      for (Queued& each : batch) each.done(tl::make_unexpected(error));
      return {};
    }
    if (appended.outcome == store::AppendOutcome::unknown) return stop(std::move(batch), appended.error);
    changes->before = before;
    changes->after = after;
    {
      std::lock_guard lock(mutex_);
      snapshot_ = after;
      auto last = dirty_.end();
      for (const RowChange& row : changes->rows) {  // in order: many of one page behind each other
        const std::pair page{row.table, row.id >> kPageBits};
        if (last == dirty_.end() || *last != page) last = dirty_.insert(page).first;
      }
      remember(after->revision.value, std::move(events));
    }
    const std::shared_ptr<const ChangeSet> published = changes;
    for (const Follower& follower : followers_) follower(published);
    answer(batch, results, after->revision);
    return {};
  }

  // A batch that outgrew one append is done again, in smaller ones, and without what could be decided further: that is
  // somebody else's doing, and has a commit of its own. One command alone is refused.
  Status too_large(std::vector<Queued> batch, bool further) {
    further_next_ = !further;
    if (batch.size() == 1 && !further) {
      batch[0].done(fail(ErrorCode::too_large, "this is too large for one commit (limit kAppendBlobBytesMax)"));
      return {};
    }
    for (auto at = batch.rbegin(); at != batch.rend(); ++at) queue_.push_front(std::move(*at));
    batch_commands_max_ = std::max<size_t>(1, batch.size() / 4);
    return {};
  }

  Status stop(std::vector<Queued> batch, const Error& why) {
    log_error("outcome of a commit unknown: stepping down", {{"error", why.to_string()}});
    stopped_ = true;
    const Error error{
        ErrorCode::unavailable, "whether this was stored is not known: look before you repeat it", {}, 1000};
    for (Queued& each : batch) each.done(tl::make_unexpected(error));
    while (!queue_.empty()) {
      queue_.front().done(
          tl::make_unexpected(Error{ErrorCode::unavailable, "the manager steps down: try again", {}, 1000}));
      queue_.pop_front();
    }
    return fail(ErrorCode::unavailable, "outcome of a commit unknown: " + why.message);
  }

  static void answer(std::vector<Queued>& batch, std::vector<Result<Outcome>>& results, Revision revision) {
    for (size_t i = 0; i < batch.size(); ++i) {
      if (results[i]) results[i]->revision = revision;
      batch[i].done(std::move(results[i]));
    }
  }

  // Under mutex_, or before anybody reads.
  void remember(uint64_t revision, std::vector<WatchEvent> events) {
    recent_count_ += events.size();
    recent_.emplace_back(revision, std::move(events));
    while (recent_count_ > kRecentEventsMax && recent_.size() > 1) {
      recent_count_ -= recent_.front().second.size();
      recent_.pop_front();
    }
  }

  Result<WatchBatch> events_from_log(Cursor from, size_t most) const {
    WatchBatch out;
    out.to = from;
    Packer packer;  // any thread
    Status status;
    Status read = store_.read_log(from.revision.value, [&](uint64_t revision, std::string_view blob) {
      auto text = packer.decompress(blob);
      BatchHead head;
      auto events = text ? decode_batch(*text, from.epoch, head) : tl::make_unexpected(text.error());
      if (!events) {
        status = tl::make_unexpected(events.error());
        return false;
      }
      if (!out.events.empty() && out.events.size() + events->size() > most) return false;
      out.events.insert(out.events.end(), events->begin(), events->end());
      out.to.revision = Revision{revision};
      return true;
    });
    if (!read) return fail(ErrorCode::not_found, "this cursor is older than what is kept: list again");
    if (!status) return tl::make_unexpected(status.error());
    return out;
  }

  Status write_pages(const Snapshot& at, const std::set<std::pair<TableId, uint64_t>>& dirty) {
    std::vector<store::Page> pages;
    Packer packer;  // a thread of its own
    for (const auto& [table, number] : dirty) {
      store::Page page{static_cast<uint32_t>(table), number, {}};
      const std::string text = encode_page(at, table, number);
      if (!text.empty()) {
        TUTTI_TRY(page.blob, packer.compress(text));
      }
      pages.push_back(std::move(page));
    }
    TUTTI_TRY(std::string meta, packer.compress(std::to_string(at.next_id) + " " + std::to_string(at.now.ns)));
    pages.push_back({kMetaTable, 0, std::move(meta)});
    return store_.checkpoint(at.revision.value, pages);
  }

  store::Store& store_;
  Packer packer_;
  std::deque<Queued> queue_;
  std::vector<Follower> followers_;
  Decide decide_;
  bool stopped_ = true;
  size_t batch_commands_max_ = limits::kBatchCommandsMax;
  bool further_next_ = true;  // whether the next step may decide_further()

  mutable std::mutex mutex_;  // what readers and the checkpoint see
  std::shared_ptr<const Snapshot> snapshot_;
  std::set<std::pair<TableId, uint64_t>> dirty_;
  Recent recent_;
  size_t recent_count_ = 0;
  uint64_t checkpoint_revision_ = 0;
  std::deque<std::pair<Time, uint64_t>> times_;  // when which revision was the newest
};

}  // namespace

std::unique_ptr<Engine> make_engine(store::Store& store) {
  return std::make_unique<EngineImpl>(store);
}

}  // namespace tutti::state
