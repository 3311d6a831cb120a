#pragma once
// Every limit of tutti, in one place. What exceeds one is refused with a message that names it.

#include <cstddef>
#include <cstdint>

namespace tutti::limits {

// Requests and documents.
inline constexpr size_t kRequestBodyBytesMax = 4u << 20;    // JSON bodies and job files
inline constexpr size_t kStrangerBodyBytesMax = 64u << 10;  // of a request without a valid token
inline constexpr size_t kRequestHeaderBytesMax = 32u << 10;
inline constexpr size_t kDocumentDepthMax = 32;
inline constexpr size_t kDocumentNodesMax = 200'000;
inline constexpr size_t kListRowsMax = 1'000;            // rows of one page, unless more are asked for
inline constexpr size_t kListStreamedRowsMax = 100'000;  // rows of one page that asks for them
inline constexpr size_t kConnectionsMax = 20'000;        // of a port, where the process may have that many descriptors
inline constexpr size_t kDescriptorsReserved = 256;      // of a manager, for all but connections
inline constexpr size_t kStrangersPerAddressMax = 256;   // connections of one address that have not shown who they are
inline constexpr size_t kWatchersMax = 1'000;
inline constexpr size_t kWatchersPerTokenMax = 200;  // with its sessions
inline constexpr size_t kWaitersMax = 4'000;         // requests that wait for an operation to end
inline constexpr size_t kWaitersPerTokenMax = 1'000;
inline constexpr size_t kWatchBacklogMax = 4'096;  // events a slow watcher may be behind

// Names, jobs.
inline constexpr size_t kNameLengthMax = 63;
inline constexpr size_t kLabelsMax = 64;
inline constexpr size_t kTasksPerJobMax = 100;
inline constexpr int64_t kCountMax = 100'000;
inline constexpr int64_t kInstancesPerJobMax = 500'000;      // the counts of all its groups together
inline constexpr int64_t kMillicoresMax = 1'000'000;         // of a task, and of a node: 1,000 cores
inline constexpr int64_t kSizeBytesMax = int64_t{1} << 50;   // the same: memory, disk
inline constexpr size_t kAffinitiesMax = 16;                 // of a job
inline constexpr size_t kSpreadsMax = 4;                     // attributes that a job is spread over
inline constexpr int64_t kTogetherMax = 500;                 // instances of a job placed all or nothing, or on one node
inline constexpr size_t kDevicesMax = 64;                    // of a node, and that a task asks for
inline constexpr size_t kSchedulersMax = 16;                 // beside the one inside the manager
inline constexpr int64_t kSchedulerSilentSeconds = 5;        // then it is not counted on any more
inline constexpr int64_t kSchedulerIdleSeconds = 10;         // with work it could place, and none placed: others do it
inline constexpr int64_t kSchedulerPassedOverSeconds = 300;  // for so long
inline constexpr size_t kPushAsidePerPlan = 32;              // stuck instances per plan that others are told to go for
inline constexpr int64_t kNodeLimitMax = 1'000'000;          // of one countable thing of a node
inline constexpr size_t kAfterMax = 64;                      // what a job, or one task, waits for
inline constexpr size_t kCronsMax = 16;                      // of a periodic job
inline constexpr size_t kParentNameLengthMax = 46;  // of a periodic or parameterized job: its children add to it
inline constexpr int32_t kChildrenKeptMax = 1'000;  // that have ended
inline constexpr size_t kChildrenLiveMax = 5'000;   // of one job that have not ended
inline constexpr size_t kMetaKeysMax = 64;
inline constexpr size_t kMetaBytesMax = 16u << 10;     // all keys and values of a job
inline constexpr size_t kSpecBytesMax = 512u << 10;    // a job's spec as JSON, with its files
inline constexpr size_t kPayloadBytesMax = 64u << 10;  // before base64
inline constexpr int64_t kLaunchLateSeconds = 60;      // a time of a schedule not launched by then was missed
inline constexpr size_t kJobVersionsKept = 10;
inline constexpr size_t kJobsMax = 200'000;
inline constexpr size_t kNodesMax = 20'000;
inline constexpr size_t kInstancesMax = 4'000'000;
inline constexpr size_t kTokensMax = 10'000;       // that work
inline constexpr size_t kSessionsMax = 20;         // of one token, those of its sessions with them; the oldest ends
inline constexpr int64_t kSessionSecondsMin = 60;  // but none so young: who makes more is to wait
inline constexpr int32_t kTokenUsesMax = 1'000;    // of a join token that has a limit: it remembers its nodes

inline constexpr size_t kHealthChecksMax = 16;  // of a task
inline constexpr int64_t kCheckIntervalMsMin = 100;
inline constexpr int64_t kCheckTimeoutSecondsMax = 300;
inline constexpr int32_t kCheckThresholdMax = 1'000;       // failures or successes in a row
inline constexpr size_t kCheckOutputBytesMax = 256;        // of an answer or of what a command says: kept and told
inline constexpr size_t kCheckCommandsAtOnceMax = 16;      // of one node; further ones wait
inline constexpr size_t kCheckCommandsPerInstanceMax = 2;  // of those 16
inline constexpr size_t kCheckCommandsPerJobMax = 8;       // of those 16
inline constexpr int64_t kHealthEventSeconds =
    10;  // no second event that an instance became healthy, or unhealthy, within these

inline constexpr int64_t kRebalanceMovesMax = 1'000;   // of one rebalance
inline constexpr int32_t kRebalanceParallelMax = 100;  // of them under way at a time
inline constexpr int64_t kMoveRoomSeconds = 60;        // a move that finds no room on its node by then is dropped
inline constexpr int64_t kMoveHealthySeconds = 600;    // where its job sets no healthy_deadline

// State and store.
inline constexpr size_t kCommandQueueMax = 16'384;
inline constexpr size_t kCommandRowsMax = 2'000;
inline constexpr size_t kBatchCommandsMax = 1'024;
inline constexpr size_t kAppendBlobBytesMax = 1u << 20;
inline constexpr size_t kEventsKept = 20'000;
inline constexpr size_t kOperationsKept = 5'000;
inline constexpr size_t kFinishedInstancesKeptPerSlot = 3;
inline constexpr size_t kIdempotencyKept = 50'000;
inline constexpr int64_t kIdempotencySeconds = 24 * 3600;
inline constexpr int64_t kEventsKeepSeconds = 30 * 24 * 3600;
inline constexpr int64_t kOperationsKeepSeconds = 7 * 24 * 3600;
inline constexpr int64_t kTokensKeepSeconds = 30 * 24 * 3600;  // revoked or expired ones
inline constexpr size_t kTrimRowsMax = 500;                    // of one round of trimming
inline constexpr int64_t kLogKeepSeconds = 3600;               // how far a watch can resume

// Worker session.
inline constexpr size_t kFrameBytesMax = 64u << 10;
inline constexpr size_t kMessageBytesMax = 1u << 20;
inline constexpr int64_t kBeatMs = 1'000;
inline constexpr int64_t kBeatSlowestMs = 2'500;      // of a very large pool; two fit into a lease
inline constexpr int64_t kBeatsPerSecondMax = 4'000;  // of all nodes together, until they beat at their slowest
inline constexpr int64_t kLeaseMs = 5'000;
inline constexpr int64_t kUnknownAfterMs = 6'000;
inline constexpr int64_t kLostAfterMs = 7'000;  // unknown, and its lease has surely ended: work is replaced
inline constexpr size_t kReportsPerMessageMax = 256;
inline constexpr int64_t kCertificateSeconds = 90LL * 24 * 3600;       // of a worker
inline constexpr int64_t kCertificateRenewSeconds = 30LL * 24 * 3600;  // left when it asks for the next
inline constexpr int64_t kExpiredCertificateSeconds =
    30LL * 24 * 3600;                                    // for so long an expired one may still be renewed
inline constexpr size_t kReasonBytesMax = 1'024;         // what a worker says of a task
inline constexpr size_t kInventoryBytesMax = 64u << 10;  // what a worker says of its node, as JSON

// Images.
inline constexpr size_t kImagesToldMax = 100;  // of those on a node: the largest
inline constexpr int64_t kImageUnusedSeconds =
    24 * 3600;  // that no instance of a node has needed: then it goes from there
inline constexpr int64_t kImageUnusedLowSeconds = 600;  // likewise, while that node's disk is low
inline constexpr int kDiskLowPercent = 15;              // free on the disk of a node's images
inline constexpr size_t kManifestBytesMax = 4u << 20;
inline constexpr int64_t kPruneGraceSeconds = 24 * 3600;  // content nobody refers to stays so long
inline constexpr int64_t kPruneGraceSecondsMin = 600;     // longer than a push takes between a layer and its manifest
inline constexpr uint64_t kBlobBytesMax = 64ull << 30;
inline constexpr uint64_t kUnpackedLayerBytesMax = 64ull << 30;
inline constexpr uint64_t kUnpackedLayerEntriesMax = 2'000'000;

// Logs of an instance, per task and stream set.
inline constexpr uint64_t kLogFileBytesMax = 10u << 20;
inline constexpr int kLogFilesKept = 3;

}  // namespace tutti::limits
