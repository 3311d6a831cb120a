#pragma once
// What the files of apply share. One overload of apply_one per command, in the file of its noun.

#include <fmt/format.h>

#include <string>

#include "state/apply.h"
#include "state/draft.h"

namespace tutti::state {

struct ApplyContext {
  Draft& draft;
  const CommandMeta& meta;
  Time now;
  const Snapshot& state() const { return draft.state(); }
};

Result<Outcome> apply_one(ApplyContext& c, const SubmitJob& command);
Result<Outcome> apply_one(ApplyContext& c, const ActivateVersion& command);
Result<Outcome> apply_one(ApplyContext& c, const ScaleJob& command);
Result<Outcome> apply_one(ApplyContext& c, const SetJobStopped& command);
Result<Outcome> apply_one(ApplyContext& c, const DeleteJob& command);
Result<Outcome> apply_one(ApplyContext& c, const PromoteJob& command);
Result<Outcome> apply_one(ApplyContext& c, const AbortJob& command);
Result<Outcome> apply_one(ApplyContext& c, const DispatchJob& command);
Result<Outcome> apply_one(ApplyContext& c, const ForceJob& command);
Result<Outcome> apply_one(ApplyContext& c, const ApplyActions& command);
Result<Outcome> apply_one(ApplyContext& c, const ApplyPlan& command);
Result<Outcome> apply_one(ApplyContext& c, const OperateInstance& command);
Result<Outcome> apply_one(ApplyContext& c, const JoinNode& command);
Result<Outcome> apply_one(ApplyContext& c, const BeginSession& command);
Result<Outcome> apply_one(ApplyContext& c, const ReportStatus& command);
Result<Outcome> apply_one(ApplyContext& c, const SetNodeHealth& command);
Result<Outcome> apply_one(ApplyContext& c, const UpdateNode& command);
Result<Outcome> apply_one(ApplyContext& c, const RemoveNode& command);
Result<Outcome> apply_one(ApplyContext& c, const PutImage& command);
Result<Outcome> apply_one(ApplyContext& c, const DeleteImage& command);
Result<Outcome> apply_one(ApplyContext& c, const CreateToken& command);
Result<Outcome> apply_one(ApplyContext& c, const RevokeToken& command);
Result<Outcome> apply_one(ApplyContext& c, const PutProject& command);
Result<Outcome> apply_one(ApplyContext& c, const UpdatePool& command);
Result<Outcome> apply_one(ApplyContext& c, const StartOperation& command);
Result<Outcome> apply_one(ApplyContext& c, const StartRebalance& command);
Result<Outcome> apply_one(ApplyContext& c, const UpdateOperation& command);
Result<Outcome> apply_one(ApplyContext& c, const CancelOperation& command);
Result<Outcome> apply_one(ApplyContext& c, const AddEvent& command);
Result<Outcome> apply_one(ApplyContext& c, const InitializePool& command);
Result<Outcome> apply_one(ApplyContext& c, const TrimHistory& command);

// Of one commit. People read the first ones; a row for each of thousands would cost more than the work itself. What is
// more than information is always written.
inline constexpr size_t kInstanceEventsMax = 100;

// An event about an object, in this commit.
void emit(ApplyContext& c, std::string type, std::string severity, TableId table, uint64_t id, std::string name,
          ProjectId project, std::string message);
void emit_instance(ApplyContext& c, const Instance& instance, std::string type, std::string severity,
                   std::string message);
OperationId start_operation(ApplyContext& c, std::string kind, TableId table, uint64_t target, ProjectId project,
                            uint32_t target_version = 0, std::string argument = {}, int64_t total = 0);
// The newest operation of this kind about the target that still runs or has succeeded: what a repeated request is
// answered with, so that asking again writes nothing. None: start one.
OperationId present_operation(const Snapshot& state, std::string_view kind, uint64_t target,
                              uint32_t target_version = 0);
std::string_view kind_word(TableId table);
// Oldest rows beyond what limits.h keeps go with the commit that added one.
void trim_to(Draft& draft, TableId table, size_t rows_max);

// The next version of a job: active at once where its images are known. Puts both rows; `job` is up to date.
Result<JobVersion> add_version(ApplyContext& c, Job& job, std::shared_ptr<const JobSpec> spec,
                               std::map<std::string, std::string> images);
// What is made beside, or let go, on the way to another node; see apply_rebalance.cc.
InstanceId make_instance(ApplyContext& c, const CreateInstance& wanted);
void change_instance(ApplyContext& c, const ChangeInstance& wanted);
// The moves of a rebalance go on.
void move_on(ApplyContext& c, Operation& operation, const std::vector<MoveStep>& steps);
void change_deployment(ApplyContext& c, const ChangeDeployment& wanted);
void launch(ApplyContext& c, const LaunchChild& wanted);
void change_job(ApplyContext& c, const ChangeJob& wanted);

// Whom spec.after names; none where a name has gone. Refused by check_after: no such job, one that never ends, a
// circle.
std::vector<JobId> resolve_after(const Snapshot& state, ProjectId project, const JobSpec& spec);
Status check_after(const Snapshot& state, ProjectId project, const JobSpec& spec);

// kCommandRowsMax, with a message.
Status within_rows(size_t items, std::string_view what);

// Whether the job's project allows, today, what this version of it wants; `forbidden` with the wishes.
Status still_allowed(const Snapshot& state, const Job& job, const JobVersion* version);
// The same of whatever the job runs, or is about to: the version that is active, and the newest.
Status still_allowed(const Snapshot& state, const Job& job);

// A placed-state detail for a new generation.
std::shared_ptr<const InstanceDetail> fresh_detail(const Snapshot& state, const Instance& instance,
                                                   std::vector<PortBinding> ports, std::vector<DeviceBinding> devices);

}  // namespace tutti::state
