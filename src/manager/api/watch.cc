// U03: server-sent events from a cursor. A watcher that falls behind is cut off and resumes from its last cursor.
#include "base/limits.h"
#include "manager/api/hub.h"
#include "manager/api/routes.h"
#include "manager/api/views.h"

namespace tutti::manager {
namespace {

constexpr size_t kWatchPendingBytes = 4u << 20;

std::string_view kind_of(TableId table) {
  switch (table) {
    case TableId::pool: return "pool";
    case TableId::project: return "project";
    case TableId::node: return "node";
    case TableId::job: return "job";
    case TableId::instance: return "instance";
    case TableId::image: return "image";
    case TableId::operation: return "operation";
    case TableId::event: return "event";
    case TableId::token: return "token";
    case TableId::version:
    case TableId::volume:
    case TableId::idempotency: return "";
  }
  return "";
}

struct Watch {
  CallPtr call;
  std::optional<TableId> table;
  ProjectId project;  // only what is of this one; none: of all that the identity sees
  std::shared_ptr<net::BodyWriter> writer;
  Cursor at;
  BootTime spoke;
  std::atomic<bool> closed{false};
  std::shared_ptr<void> right;  // while its token works
  bool over = false;            // it does not any more; on the hub's thread, like poll()

  bool visible(const Snapshot& s, const state::WatchEvent& event) const {
    if (table ? event.table != *table : kind_of(event.table).empty()) return false;
    if (event.table == TableId::token && call->identity.role != Role::admin) return false;
    const bool pool_wide = call->identity.project.empty();
    if (pool_wide && !project) return true;
    auto within = [&](ProjectId of) { return sees(call->identity, of, s) && (!project || of == project); };
    // Whose it was is not known of what is gone.
    auto job_within = [&](const Job* job) { return job != nullptr ? within(job->project) : pool_wide; };
    if (event.table == TableId::job) return job_within(s.jobs.find(event.id));
    if (event.table == TableId::instance) {
      const Instance* i = s.instances.find(event.id);
      return job_within(i != nullptr ? s.jobs.find(i->job.value) : nullptr);
    }
    if (event.table == TableId::event) {
      const Event* row = s.events.find(event.id);
      return row != nullptr && within(row->project);
    }
    return event.table == TableId::node || event.table == TableId::image;
  }

  bool write(const Snapshot& s, const state::WatchEvent& event) {
    std::string type = event.kind == state::WatchEvent::Kind::created   ? "created"
                       : event.kind == state::WatchEvent::Kind::updated ? "updated"
                                                                        : "deleted";
    std::string object = event.kind == state::WatchEvent::Kind::deleted
                             ? std::string()
                             : render_row(s, event.table, event.id, call->services.clock().now());
    if (object.empty()) {
      type = "deleted";
      object = "{\"kind\":\"" + std::string(kind_of(event.table)) + "\",\"id\":\"" + id_text(event.id) + "\"}";
    }
    const std::string cursor = to_text(event.cursor);
    return writer->write("id: " + cursor + "\nevent: " + type + "\ndata: {\"cursor\":\"" + cursor + "\",\"type\":\"" +
                         type + "\",\"kind\":\"" + std::string(kind_of(event.table)) + "\",\"object\":" + object +
                         "}\n\n");
  }

  bool say_and_end(const Error& error) {
    writer->write("event: error\ndata: " + problem_json(error, call->request_id) + "\n\n");
    writer->finish();
    return true;
  }

  // True: over.
  bool poll() {
    if (closed) return true;
    if (over) return say_and_end(token_ended());
    const BootTime now = call->services.clock().boot_now();
    while (writer->pending_bytes() < kWatchPendingBytes / 2) {
      auto batch = call->services.events_after(at, 256);
      if (!batch) return say_and_end(batch.error());
      if (batch->to.revision == at.revision) break;
      const auto s = call->services.snapshot();
      for (const state::WatchEvent& event : batch->events) {
        if (!visible(*s, event)) continue;
        spoke = now;
        if (!write(*s, event)) {
          writer->finish();
          return true;
        }
      }
      at = batch->to;
    }
    if (now - spoke > seconds(15)) {
      spoke = now;
      if (!writer->write(": still here\n\n")) return true;
    }
    return false;
  }
};

}  // namespace

void watch_table(CallPtr call, std::optional<TableId> table) {
  const Project* project = nullptr;
  if (!call->query("project").empty() && (project = project_of(*call)) == nullptr) return;
  auto watch = std::make_shared<Watch>();
  watch->call = call;
  watch->table = table;
  if (project != nullptr) watch->project = project->id;
  watch->at = {call->state->epoch, call->state->revision};
  std::string from = call->query("from");
  if (from.empty()) from = call->request->header("last-event-id");
  if (!from.empty()) {
    Result<Cursor> cursor = parse_cursor(from);
    if (!cursor) return answer_error(*call, cursor.error());
    watch->at = *cursor;
  }
  if (auto probe = call->services.events_after(watch->at, 1); !probe) return answer_error(*call, probe.error());
  net::Response head;
  head.content_type = "text/event-stream";
  head.headers = {{"Cache-Control", "no-store"}, {"X-Request-Id", call->request_id}};
  watch->writer = call->responder->stream(std::move(head), kWatchPendingBytes);
  watch->spoke = call->services.clock().boot_now();
  std::weak_ptr<Watch> weak = watch;
  watch->writer->on_close([weak] {
    if (auto one = weak.lock()) one->closed = true;
  });
  const std::string cursor = to_text(watch->at);
  watch->writer->write("id: " + cursor + "\nevent: ready\ndata: {\"cursor\":\"" + cursor +
                       "\",\"type\":\"ready\"}\n\n");
  watch->right = call->hub.while_works(call->identity.token, [weak] {
    if (auto one = weak.lock()) one->over = true;
  });
  Status added = call->hub.add(call->identity, CommitHub::For::watch, [watch] { return watch->poll(); });
  if (!added) watch->say_and_end(added.error());
}

}  // namespace tutti::manager
