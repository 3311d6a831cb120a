// The codec of the API's own structs.
#include "manager/api/requests.h"
#include "manager/api/views.h"
#include "manager/job_plan.h"
#include "model/codec_impl.h"

TUTTI_INSTANTIATE_CODEC(tutti::manager::PoolStatus);
TUTTI_INSTANTIATE_CODEC(tutti::manager::ResourceRow);
TUTTI_INSTANTIATE_CODEC(tutti::manager::SchedulerStatus);
TUTTI_INSTANTIATE_CODEC(tutti::manager::DeploymentStatus);
TUTTI_INSTANTIATE_CODEC(tutti::manager::JobStatus);
TUTTI_INSTANTIATE_CODEC(tutti::manager::InstanceStatus);
TUTTI_INSTANTIATE_CODEC(tutti::manager::InstanceSummary);
TUTTI_INSTANTIATE_CODEC(tutti::manager::NodeStatus);
TUTTI_INSTANTIATE_CODEC(tutti::manager::VersionStatus);
TUTTI_INSTANTIATE_CODEC(tutti::manager::ImageStatus);
TUTTI_INSTANTIATE_CODEC(tutti::manager::MoveStatus);
TUTTI_INSTANTIATE_CODEC(tutti::scheduler::LeftOut);
TUTTI_INSTANTIATE_CODEC(tutti::manager::RebalanceStatus);
TUTTI_INSTANTIATE_CODEC(tutti::manager::OperationStatus);
TUTTI_INSTANTIATE_CODEC(tutti::manager::TokenStatus);
TUTTI_INSTANTIATE_CODEC(tutti::manager::EventStatus);
TUTTI_INSTANTIATE_CODEC(tutti::FieldChange);
TUTTI_INSTANTIATE_CODEC(tutti::manager::JobPlan);
TUTTI_INSTANTIATE_CODEC(tutti::manager::DispatchRequest);
TUTTI_INSTANTIATE_CODEC(tutti::manager::RevertRequest);
TUTTI_INSTANTIATE_CODEC(tutti::manager::PoolSpec);
TUTTI_INSTANTIATE_CODEC(tutti::manager::ProjectSpec);
TUTTI_INSTANTIATE_CODEC(tutti::manager::ScaleRequest);
TUTTI_INSTANTIATE_CODEC(tutti::manager::DrainRequest);
TUTTI_INSTANTIATE_CODEC(tutti::manager::RebalanceRequest);
TUTTI_INSTANTIATE_CODEC(tutti::manager::JoinTokenRequest);
TUTTI_INSTANTIATE_CODEC(tutti::manager::TokenRequest);
TUTTI_INSTANTIATE_CODEC(tutti::manager::SessionRequest);
TUTTI_INSTANTIATE_CODEC(tutti::manager::SignalRequest);
TUTTI_INSTANTIATE_CODEC(tutti::manager::PullRequest);
TUTTI_INSTANTIATE_CODEC(tutti::manager::PushRequest);
TUTTI_INSTANTIATE_CODEC(tutti::manager::PruneRequest);
