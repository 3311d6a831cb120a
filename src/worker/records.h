#pragma once
// What the worker remembers over its own restarts: one file per instance under /run, and its identity on disk.
//
// Records end with the kernel, as the work does, so they are not fsynced; the identity is. Blocking, small; I/O thread.

#include <string>
#include <vector>

#include "base/result.h"
#include "worker/runner.h"

namespace tutti::worker {

class Records {
 public:
  explicit Records(std::string dir) : dir_(std::move(dir)) {}
  // Everything that can be read; what cannot is named in the log and left out (its runs are swept as leftovers).
  Result<std::vector<InstanceRecord>> load() const;
  Status store(const InstanceRecord& record) const;
  Status drop(InstanceId instance) const;

 private:
  std::string dir_;
};

// Who this node is: key and certificate, in <data>/identity, mode 0600.
struct NodeIdentity {
  std::string node;  // id text
  std::string name;
  std::string certificate;     // PEM
  std::string private_key;     // PEM
  std::string authority;       // PEM
  std::string worker_address;  // host:port to dial
};
BOOST_DESCRIBE_STRUCT(NodeIdentity, (), (node, name, certificate, private_key, authority, worker_address))

// not_found before the first join.
Result<NodeIdentity> load_identity(const std::string& data_dir);
Status save_identity(const std::string& data_dir, const NodeIdentity& identity);

// Joins with a token "<id>.<secret>.<hash of the authority>" at host:port. The key is on disk before the first call, so
// that a join that is tried again gets the same node.
Result<NodeIdentity> join(const std::string& data_dir, const std::string& address, const std::string& token,
                          const std::string& name);
// A new certificate for the same key, when less than a third of its time is left, or it has expired (the manager gives
// one for 30 days more); false: not yet.
Result<bool> renew(const std::string& data_dir, NodeIdentity& identity, Time now);

}  // namespace tutti::worker
