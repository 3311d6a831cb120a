#pragma once
// Worker: the process on a node.
//
// One I/O thread owns Core and the session; a small pool carries out operations; drivers and streams have threads of
// their own. Stopping it (or killing it) leaves what runs running: the next process adopts it.

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "driver/driver.h"
#include "worker/executor.h"
#include "worker/fingerprint.h"
#include "worker/network_record.h"
#include "worker/records.h"

namespace tutti::worker {

struct WorkerOptions {
  std::string data_dir;
  std::string run_dir;  // under /run: ends with the kernel
  FingerprintOptions fingerprint;
  int threads = 4;
};

// The node's network and images. Made by app; used from pool threads.
class HostServices {
 public:
  virtual ~HostServices() = default;
  // Before anything new is started, and again when the welcome differs: subnet and pool are known now. `live` is what
  // an earlier process left running: its ports are held again before anyone else can have them.
  virtual Status use(const WelcomeMessage& welcome, const NodeIdentity& identity,
                     const std::vector<LiveInstance>& live) = 0;
  // The node has a new certificate: the one before it will expire.
  virtual void renewed(const NodeIdentity& identity) = 0;
  virtual driver::DriverResult<NetworkUp> network_up(InstanceId instance, const std::vector<PortBinding>& ports,
                                                     NetworkMode mode) = 0;
  virtual Status network_down(InstanceId instance) = 0;
  virtual Result<driver::ImageOnDisk> image(const std::string& reference) = 0;
  // Calls `told` with the images of the node in use(), and whenever image() has added one; from the thread of that
  // call.
  virtual void on_images(std::function<void(NodeImages)> told) = 0;
  // Every minute, once it is known what is to be on this node, on a thread of its own: images may go that are not
  // `in_use` (references, of every instance that is here).
  virtual void tidy_images(const std::vector<std::string>& in_use, Time now) = 0;
  // What a dead worker left of instances that are not live. Once, after a use() that worked.
  virtual void sweep(const std::vector<InstanceId>& live) = 0;
};

class Worker {
 public:
  virtual ~Worker() = default;  // stops; leaves running what runs
  // Set when the manager does not want this node any more, with its reason.
  virtual std::string refused() const = 0;
  virtual bool connected() const = 0;

  static Result<std::unique_ptr<Worker>> start(WorkerOptions options, NodeIdentity identity, driver::Registry& drivers,
                                               HostServices& host);
};

}  // namespace tutti::worker
