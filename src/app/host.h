#pragma once
// NodeHost: a worker's network and images, put together from worker/network.h and worker/images.h.
//
// Thread-safe; use() comes from the worker's I/O thread before anything else does.

#include <memory>
#include <mutex>

#include "worker/images.h"
#include "worker/network.h"
#include "worker/worker.h"

namespace tutti::app {

class NodeHost final : public worker::HostServices {
 public:
  NodeHost(std::string data_dir, std::string run_dir) : data_dir_(std::move(data_dir)), run_dir_(std::move(run_dir)) {}

  Status use(const WelcomeMessage& welcome, const worker::NodeIdentity& identity,
             const std::vector<worker::LiveInstance>& live) override;
  void renewed(const worker::NodeIdentity& identity) override;
  driver::DriverResult<worker::NetworkUp> network_up(InstanceId instance, const std::vector<PortBinding>& ports,
                                                     NetworkMode mode) override;
  Status network_down(InstanceId instance) override;
  Result<driver::ImageOnDisk> image(const std::string& reference) override;
  void on_images(std::function<void(NodeImages)> told) override;
  void tidy_images(const std::vector<std::string>& in_use, Time now) override;
  void sweep(const std::vector<InstanceId>& live) override;
  // Bridge, rules, namespaces: for a worker that is purged. Fine if there is nothing.
  void remove_everything(const std::string& pool_id, const std::string& node_name, const std::string& subnet);

 private:
  std::shared_ptr<worker::InstanceNetwork> network() const;
  Status fetch_as(const worker::NodeIdentity& identity);
  void tell_images(worker::ImageStore& images);

  const std::string data_dir_;
  const std::string run_dir_;
  const SystemClock clock_;
  mutable std::mutex mutex_;
  std::string network_error_;       // of the last try; empty: none has failed since there was a network
  BootTime network_missing_since_;  // the first that failed
  bool welcomed_ = false;
  std::shared_ptr<worker::InstanceNetwork> network_;
  std::shared_ptr<worker::ImageStore> images_;
  std::shared_ptr<worker::ImageFetcher> fetcher_;
  std::function<void(NodeImages)> told_;
  std::set<std::string> known_images_;  // references that image() has made ready since some were removed
  std::mutex telling_;                  // of two that look and tell, the later look is told last
};

}  // namespace tutti::app
