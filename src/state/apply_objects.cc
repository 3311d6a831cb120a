// Images, projects, operations, events, the pool itself, and the history's bounds.
#include <boost/describe/enum_to_string.hpp>

#include "base/limits.h"
#include "base/text.h"
#include "model/token.h"
#include "state/apply_internal.h"

namespace tutti::state {

Result<Outcome> apply_one(ApplyContext& c, const PutImage& command) {
  Image image = command.image;
  const Image* present = c.state().image_by_tag(image.repository, image.tag);
  if (present != nullptr) {
    image.id = present->id;
    image.created = present->created;
    if (present->digest == image.digest) {  // where it came from first is what is kept
      return Outcome{.table = TableId::image, .id = image.id.value, .unchanged = true};
    }
  } else {
    image.id = ImageId{c.draft.new_id()};
    image.created = c.now;
  }
  Outcome outcome{.table = TableId::image, .id = image.id.value};
  emit(c, "image.put", "info", TableId::image, image.id.value, image.repository + ":" + image.tag, image.project,
       image.digest);
  c.draft.put(std::move(image));
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const DeleteImage& command) {
  const Image* present = c.state().images.find(command.image.value);
  if (present == nullptr) return fail(ErrorCode::not_found, "no such image");
  emit(c, "image.deleted", "info", TableId::image, present->id.value, present->repository + ":" + present->tag,
       present->project, present->digest);
  c.draft.erase(TableId::image, command.image.value);
  return Outcome{.table = TableId::image, .id = command.image.value};
}

Result<Outcome> apply_one(ApplyContext& c, const PutProject& command) {
  Project project = command.project;
  if (!is_name(project.name))
    return fail(ErrorCode::invalid, "'" + project.name + "' is not a name: use a-z, 0-9 and '-', at most 63");
  const Project* present = c.state().project_by_name(project.name);
  project.id = present != nullptr ? present->id : ProjectId{c.draft.new_id()};
  project.created = present != nullptr ? present->created : c.now;
  Outcome outcome{.table = TableId::project, .id = project.id.value};
  c.draft.put(std::move(project));
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const UpdatePool& command) {
  Pool pool = c.state().pool;
  if (command.if_version && *command.if_version != pool.version) {
    return fail(ErrorCode::stale,
                fmt::format("the pool is at version {}, not {}: read it again", pool.version, *command.if_version));
  }
  if (command.policy == PlacementPolicy::default_) {
    return fail(ErrorCode::invalid, "the pool's policy is what 'default' means for a job: name one",
                {{"policy", "is no policy of a pool", "binpack"}});
  }
  const std::string policy = boost::describe::enum_to_string(command.policy, "");
  Outcome outcome{.table = TableId::pool, .id = 1, .version = pool.version, .unchanged = pool.policy == policy};
  if (outcome.unchanged) return outcome;
  emit(c, "pool.updated", "info", TableId::pool, 0, pool.name, {},
       fmt::format("policy {} instead of {}, by {}", policy, pool.policy, c.meta.identity));
  pool.policy = policy;
  pool.version += 1;
  outcome.version = pool.version;
  c.draft.put(std::move(pool));
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const StartOperation& command) {
  Operation operation = command.operation;
  operation.id = OperationId{c.draft.new_id()};
  operation.created = c.now;
  operation.creator = c.meta.identity;
  Outcome outcome{.table = TableId::operation, .id = operation.id.value, .operation = operation.id};
  c.draft.put(std::move(operation));
  trim_to(c.draft, TableId::operation, limits::kOperationsKept);
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const UpdateOperation& command) {
  const Operation* present = c.state().operations.find(command.operation.value);
  Outcome outcome{.table = TableId::operation, .id = command.operation.value, .operation = command.operation};
  if (present == nullptr || present->state != OperationState::running) {
    outcome.unchanged = true;  // it ended meanwhile: the first end stays
    return outcome;
  }
  Operation operation = *present;
  operation.state = command.state;
  operation.steps = command.steps;
  operation.progress = command.progress;
  operation.done = command.done;
  operation.total = command.total;
  operation.message = command.message;
  move_on(c, operation, command.moves);
  if (operation.state != OperationState::running) operation.finished = c.now;
  c.draft.put(std::move(operation));
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const CancelOperation& command) {
  const Operation* present = c.state().operations.find(command.operation.value);
  if (present == nullptr) return fail(ErrorCode::not_found, "no operation " + to_text(command.operation));
  Outcome outcome{.table = TableId::operation, .id = command.operation.value, .operation = command.operation};
  if (present->state != OperationState::running || present->cancel_requested) {
    outcome.unchanged = true;
    return outcome;
  }
  Operation operation = *present;
  operation.cancel_requested = true;
  // What was asked for with it is taken back where that is possible: a drain goes on no further.
  if (operation.kind == "node.drain") {
    if (const Node* found = c.state().nodes.find(operation.target)) {
      Node node = *found;
      if (node.spec.eligibility == Eligibility::draining) {
        node.spec.eligibility = Eligibility::cordoned;
        node.version += 1;
        c.draft.put(std::move(node));
      }
    }
  }
  c.draft.put(std::move(operation));
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const AddEvent& command) {
  Event event = command.event;
  event.id = EventId{c.draft.new_id()};
  event.time = c.now;
  Outcome outcome{.table = TableId::event, .id = event.id.value};
  c.draft.put(std::move(event));
  trim_to(c.draft, TableId::event, limits::kEventsKept);
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const InitializePool& command) {
  if (!c.state().pool.pool_id.empty()) return fail(ErrorCode::conflict, "the pool was initialised before");
  Pool pool = command.pool;
  pool.epoch = c.state().epoch;
  pool.created = c.now;
  c.draft.put(std::move(pool));
  Project project;
  project.id = ProjectId{c.draft.new_id()};
  project.name = "default";
  project.created = c.now;
  project.allow_privileged = false;
  c.draft.put(std::move(project));
  return Outcome{.table = TableId::pool, .id = 1};
}

// A small batch at a time, oldest first; Outcome::number says how many went: kTrimRowsMax means ask again.
Result<Outcome> apply_one(ApplyContext& c, const TrimHistory&) {
  std::vector<std::pair<TableId, uint64_t>> gone;
  const auto room = [&] { return gone.size() < limits::kTrimRowsMax; };
  const auto older = [&](Time t, int64_t keep_seconds) { return c.now - t >= seconds(keep_seconds); };
  // Ids are given out in the order of time: the first young row ends each walk.
  c.state().idempotency.for_each([&](uint64_t id, const IdempotencyRecord& record) {
    if (!room() || !older(record.created, limits::kIdempotencySeconds)) return false;
    gone.emplace_back(TableId::idempotency, id);
    return true;
  });
  c.state().events.for_each([&](uint64_t id, const Event& event) {
    if (!room() || !older(event.time, limits::kEventsKeepSeconds)) return false;
    gone.emplace_back(TableId::event, id);
    return true;
  });
  c.state().operations.for_each([&](uint64_t id, const Operation& operation) {
    if (!room() || !older(operation.created, limits::kOperationsKeepSeconds)) return false;
    if (operation.state != OperationState::running) gone.emplace_back(TableId::operation, id);
    return true;
  });
  c.state().tokens.for_each([&](uint64_t id, const Token& token) {
    if (still_works(c.state(), token, c.now)) return room();
    // Of a session nobody asks later whose it was: the token that it was made with says that.
    if (token.parent || older(std::max(token.created, token.expires), limits::kTokensKeepSeconds))
      gone.emplace_back(TableId::token, id);
    return room();
  });
  for (const auto& [table, id] : gone) c.draft.erase(table, id);
  return Outcome{.table = TableId::pool, .number = gone.size(), .unchanged = gone.empty()};
}

}  // namespace tutti::state
