#include "model/validate_launch.h"

#include <algorithm>
#include <functional>
#include <set>

#include "base/limits.h"
#include "base/text.h"
#include "model/schedule.h"
#include "model/validate.h"

namespace tutti {
namespace {

using Errors = std::vector<ErrorDetail>;

constexpr Duration kDurationMax = seconds(366 * 24 * 3600);
constexpr size_t kKeyShownBytesMax = 80;

// More are not told: what comes after costs nothing more than being read.
bool enough(const Errors& errors) {
  return errors.size() >= kValidationErrorsMax;
}
// A key of the user's own as the last step of a path.
std::string step(std::string_view head, std::string_view key) {
  return std::string(head).append(key.substr(0, kKeyShownBytesMax));
}
std::string quoted(std::string_view text) {
  return "\"" + std::string(text.substr(0, 80)) + "\"";
}

bool is_meta_key(std::string_view key) {
  if (key.empty() || key.size() > limits::kNameLengthMax || (key[0] >= '0' && key[0] <= '9')) return false;
  return std::ranges::all_of(key, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

void check_meta_keys(const std::string& field, const std::vector<std::string>& keys, std::set<std::string>& seen,
                     Errors& errors) {
  for (size_t i = 0; i < keys.size() && i < limits::kMetaKeysMax; ++i) {
    const std::string path = field + "[" + std::to_string(i) + "]";
    if (!is_meta_key(keys[i]))
      errors.push_back({path, "not a key: " + quoted(keys[i]), "letters, digits and '_', not a digit first"});
    if (!seen.insert(keys[i]).second) errors.push_back({path, quoted(keys[i]) + " is there twice", ""});
  }
  if (keys.size() > limits::kMetaKeysMax)
    errors.push_back({field, "more than " + std::to_string(limits::kMetaKeysMax) + " (kMetaKeysMax)", ""});
}

void check_meta(const std::map<std::string, std::string>& meta, Errors& errors) {
  size_t bytes = 0;
  for (const auto& [key, value] : meta) {
    bytes += key.size() + value.size();
    if (enough(errors)) return;
    if (!is_meta_key(key))
      errors.push_back({"meta", "not a key: " + quoted(key), "letters, digits and '_', not a digit first"});
    if (value.find('\0') != std::string::npos) errors.push_back({step("meta.", key), "holds a zero byte", ""});
  }
  if (meta.size() > limits::kMetaKeysMax)
    errors.push_back({"meta", "more than " + std::to_string(limits::kMetaKeysMax) + " keys (kMetaKeysMax)", ""});
  if (bytes > limits::kMetaBytesMax)
    errors.push_back({"meta", "more than " + std::to_string(limits::kMetaBytesMax) + " bytes in all (kMetaBytesMax)",
                      "give what is large as the payload"});
}

void check_payload(const std::string& payload, Errors& errors) {
  const size_t padding = payload.ends_with("==") ? 2 : payload.ends_with('=') ? 1 : 0;
  const bool letters = std::all_of(payload.begin(), payload.end() - static_cast<ptrdiff_t>(padding), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
  });
  if (payload.size() % 4 != 0 || !letters) return errors.push_back({"payload", "not base64", "encode its bytes"});
  if (payload.size() / 4 * 3 - padding > limits::kPayloadBytesMax) {
    errors.push_back({"payload",
                      "larger than " + std::to_string(limits::kPayloadBytesMax) + " bytes (kPayloadBytesMax)",
                      "put it where the task can fetch it, and give its address"});
  }
}

void check_parent(const JobSpec& spec, Errors& errors) {
  const std::string field = spec.periodic ? "periodic" : "parameterized";
  if (spec.periodic && spec.parameterized)
    errors.push_back({"parameterized", "a job is periodic or parameterized, not both", "make two jobs of it"});
  if (spec.type != JobType::batch)
    errors.push_back({field, "only batch jobs are launched again and again", "write type: batch"});
  if (spec.job.size() > limits::kParentNameLengthMax) {
    errors.push_back({"job",
                      "longer than " + std::to_string(limits::kParentNameLengthMax) + " letters (kParentNameLengthMax)",
                      "the jobs that it launches are named after it, with a time or an id behind"});
  }
  const int32_t keep = spec.periodic ? spec.periodic->keep : spec.parameterized->keep;
  if (keep < 0 || keep > limits::kChildrenKeptMax) {
    errors.push_back({field + ".keep", "out of range",
                      "from 0 to " + std::to_string(limits::kChildrenKeptMax) + " (kChildrenKeptMax)"});
  }
  if (spec.periodic) {
    if (spec.periodic->crons.size() >= limits::kCronsMax)
      errors.push_back(
          {"periodic.crons", "more than " + std::to_string(limits::kCronsMax) + " in all (kCronsMax)", ""});
    else if (auto schedule = Schedule::of(*spec.periodic); !schedule)
      errors.push_back({"periodic", schedule.error().message, "write cron: \"*/5 * * * *\""});
  }
  if (spec.parameterized) {
    std::set<std::string> seen;
    check_meta_keys("parameterized.meta_required", spec.parameterized->meta_required, seen, errors);
    check_meta_keys("parameterized.meta_optional", spec.parameterized->meta_optional, seen, errors);
    if (!spec.payload.empty())
      errors.push_back({"payload", "a parameterized job gets its payload when it is dispatched", "leave it out"});
  }
}

// ${meta.key}: a key that can never have a value is a slip of the pen.
void check_references(const JobSpec& spec, Errors& errors) {
  std::set<std::string_view> known;
  for (const auto& [key, value] : spec.meta) known.insert(key);
  if (spec.parameterized) {
    known.insert(spec.parameterized->meta_required.begin(), spec.parameterized->meta_required.end());
    known.insert(spec.parameterized->meta_optional.begin(), spec.parameterized->meta_optional.end());
  }
  auto check = [&](const std::string& field, std::string_view text) {
    for (size_t at = text.find("${meta."); at != std::string_view::npos; at = text.find("${meta.", at + 1)) {
      if (enough(errors)) return;
      const size_t close = text.find('}', at);
      if (close == std::string_view::npos) return;
      const std::string_view key = text.substr(at + 7, close - at - 7);
      if (!known.contains(key))
        errors.push_back(
            {field, "there is no meta " + quoted(key), "name it under meta, or in parameterized.meta_optional"});
    }
  };
  for (size_t i = 0; i < spec.tasks.size(); ++i) {
    const std::string task = "tasks[" + std::to_string(i) + "].";
    for (const std::string& word : spec.tasks[i].command) check(task + "command", word);
    for (const std::string& word : spec.tasks[i].entrypoint) check(task + "entrypoint", word);
    for (const auto& [key, value] : spec.tasks[i].env) check(step(task + "env.", key), value);
  }
}

void check_names(const std::string& field, const std::vector<After>& after, Errors& errors) {
  if (after.size() > limits::kAfterMax)
    errors.push_back({field, "more than " + std::to_string(limits::kAfterMax) + " (kAfterMax)", ""});
  std::set<std::string_view> seen;
  for (size_t i = 0; i < after.size() && i < limits::kAfterMax && !enough(errors); ++i) {
    const std::string path = field + "[" + std::to_string(i) + "].name";
    if (!is_name(after[i].name))
      errors.push_back({path, "not a name: " + quoted(after[i].name), "write after: [build]"});
    else if (!seen.insert(after[i].name).second)
      errors.push_back({path, quoted(after[i].name) + " is there twice", ""});
  }
}

// The tasks of a group start together, so it is groups that wait.
class TaskOrder {
 public:
  TaskOrder(const JobSpec& spec, Errors& errors) : spec_(spec), errors_(errors) {}

  void check() {
    bool any = false;
    for (size_t i = 0; i < spec_.tasks.size() && !enough(errors_); ++i) {
      if (spec_.tasks[i].after.empty()) continue;
      any = true;
      check_task(i);
    }
    if (any && errors_.empty()) find_circle();
  }

 private:
  static const std::string& group_of(const TaskSpec& task) { return task.group.empty() ? task.name : task.group; }
  const TaskSpec* task_named(std::string_view name) const {
    const auto found = std::ranges::find(spec_.tasks, name, &TaskSpec::name);
    return found == spec_.tasks.end() ? nullptr : &*found;
  }

  void check_task(size_t index) {
    const TaskSpec& task = spec_.tasks[index];
    const std::string field = "tasks[" + std::to_string(index) + "].after";
    if (spec_.type != JobType::batch)
      return errors_.push_back({field, "only the tasks of a batch job wait for each other", "write type: batch"});
    check_names(field, task.after, errors_);
    std::vector<std::string_view> names;
    for (const TaskSpec& each : spec_.tasks) names.push_back(each.name);
    for (size_t i = 0; i < task.after.size() && i < limits::kAfterMax && !enough(errors_); ++i) {
      const std::string path = field + "[" + std::to_string(i) + "].name";
      const TaskSpec* other = task_named(task.after[i].name);
      if (other == nullptr) {
        const std::string_view near = nearest_word(task.after[i].name, names);
        errors_.push_back(
            {path, "there is no task " + quoted(task.after[i].name) + " in this job",
             near.empty() ? "another job goes into the job's own after" : "did you mean " + quoted(near) + "?"});
      } else if (group_of(*other) == group_of(task)) {
        errors_.push_back({path, quoted(other->name) + " is of the same group, whose tasks start together",
                           "put them into groups of their own"});
      }
    }
  }

  void find_circle() {
    for (const GroupView& group : groups_of(spec_)) {
      path_.clear();
      if (!walk(group.name)) return;
    }
  }
  bool walk(const std::string& group) {
    if (done_.contains(group)) return true;
    const auto seen = std::ranges::find(path_, group);
    if (seen != path_.end()) {
      std::string circle;
      for (auto each = seen; each != path_.end(); ++each) circle += *each + " -> ";
      errors_.push_back({"tasks", "these wait for each other in a circle: " + circle + group, "take one 'after' away"});
      return false;
    }
    path_.push_back(group);
    for (const TaskSpec& task : spec_.tasks) {
      if (group_of(task) != group) continue;
      for (const After& after : task.after)
        if (!walk(group_of(*task_named(after.name)))) return false;
    }
    path_.pop_back();
    done_.insert(group);
    return true;
  }

  const JobSpec& spec_;
  Errors& errors_;
  std::vector<std::string> path_;
  std::set<std::string> done_;
};

}  // namespace

void check_launch(const JobSpec& spec, Errors& errors) {
  if (is_parent(spec)) check_parent(spec, errors);
  check_meta(spec.meta, errors);
  check_payload(spec.payload, errors);
  check_references(spec, errors);
  check_names("after", spec.after, errors);
  const bool batch = spec.type == JobType::batch;
  if (!spec.after.empty() && !batch)
    errors.push_back({"after", "only a batch job waits for others", "write type: batch"});
  for (const After& after : spec.after)
    if (after.name == spec.job)
      errors.push_back({"after", "job " + quoted(spec.job) + " waits for itself", "take it away"});
  if (spec.deadline < Duration{} || kDurationMax < spec.deadline)
    errors.push_back({"deadline", "out of range", "from 0s to " + format_duration(kDurationMax)});
  else if (spec.deadline.ns > 0 && !batch)
    errors.push_back({"deadline", "only a batch job ends by itself", "write type: batch"});
  TaskOrder(spec, errors).check();
}

Status check_dispatch(const JobSpec& parent, const std::map<std::string, std::string>& meta,
                      const std::string& payload) {
  if (!parent.parameterized) {
    return fail(ErrorCode::conflict,
                "job " + parent.job + " is not parameterized: there is nothing to dispatch" +
                    (parent.periodic ? "; 'tutti job periodic force " + parent.job + "' launches it now" : ""));
  }
  const ParameterizedSpec& rule = *parent.parameterized;
  Errors errors;
  check_meta(meta, errors);
  check_payload(payload, errors);
  for (const std::string& key : rule.meta_required)
    if (!meta.contains(key)) errors.push_back({"meta." + key, "is needed", "--meta " + key + "=VALUE"});
  for (const auto& [key, value] : meta) {
    if (enough(errors)) break;
    const bool known = std::ranges::find(rule.meta_required, key) != rule.meta_required.end() ||
                       std::ranges::find(rule.meta_optional, key) != rule.meta_optional.end();
    if (!known)
      errors.push_back(
          {step("meta.", key), "job " + parent.job + " takes no such meta", "'tutti job show' lists what it takes"});
  }
  if (payload.empty() && rule.payload == PayloadRule::required)
    errors.push_back({"payload", "is needed", "give a file, or - for standard input"});
  if (!payload.empty() && rule.payload == PayloadRule::forbidden)
    errors.push_back({"payload", "job " + parent.job + " takes none", "leave it out"});
  if (errors.empty()) return {};
  return fail(ErrorCode::invalid, "job " + parent.job + " cannot be dispatched like this", std::move(errors));
}

}  // namespace tutti
