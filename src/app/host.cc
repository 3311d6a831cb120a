#include "app/host.h"

#include <algorithm>

#include "base/limits.h"
#include "base/log.h"
#include "net/http.h"
#include "sys/file.h"

namespace tutti::app {

Status NodeHost::use(const WelcomeMessage& welcome, const worker::NodeIdentity& identity,
                     const std::vector<worker::LiveInstance>& live) {
  TUTTI_CHECK(fetch_as(identity));
  std::shared_ptr<worker::ImageStore> images;
  {
    std::lock_guard lock(mutex_);
    images = images_;
    network_.reset();  // of the welcome before: it holds the ports that the next one takes
  }
  if (!images) {
    TUTTI_TRY(auto opened, worker::ImageStore::open(data_dir_ + "/images"));
    images = std::move(opened);
    std::lock_guard lock(mutex_);
    images_ = images;
  }
  tell_images(*images);
  auto network =
      worker::InstanceNetwork::open({welcome.pool_id.substr(0, 6), welcome.node_name, welcome.subnet, run_dir_});
  if (network) {
    // Before it is handed out: no teardown comes between.
    for (InstanceId lost : (*network)->adopt(live)) {
      log_warning("the network of a running instance is gone: it gets a new one when it starts over",
                  {{"instance", to_text(lost)}});
    }
  }
  std::lock_guard lock(mutex_);
  welcomed_ = true;
  if (!network) {
    if (network_error_.empty()) network_missing_since_ = clock_.boot_now();
    network_error_ = network.error().to_string();
    return tl::make_unexpected(std::move(network).error());
  }
  network_ = std::move(*network);
  network_error_.clear();
  return {};
}

// A fetch under way goes on with what it began with.
Status NodeHost::fetch_as(const worker::NodeIdentity& identity) {
  TUTTI_TRY(const net::Endpoint endpoint, net::parse_endpoint(identity.worker_address));
  std::shared_ptr<worker::ImageFetcher> fetcher =
      worker::make_http_fetcher(endpoint, {identity.authority, {}, identity.certificate, identity.private_key});
  std::lock_guard lock(mutex_);
  fetcher_.swap(fetcher);
  return {};
}

void NodeHost::renewed(const worker::NodeIdentity& identity) {
  if (Status used = fetch_as(identity); !used)
    log_error("images are fetched with the old certificate", {{"error", used.error().to_string()}});
}

std::shared_ptr<worker::InstanceNetwork> NodeHost::network() const {
  std::lock_guard lock(mutex_);
  return network_;
}

driver::DriverResult<worker::NetworkUp> NodeHost::network_up(InstanceId instance, const std::vector<PortBinding>& ports,
                                                             NetworkMode mode) {
  auto network = this->network();
  if (!network) {
    std::lock_guard lock(mutex_);
    // The worker tries again every few seconds: at first it is worth waiting for, as after a reboot. Later another node
    // may have one.
    return tl::make_unexpected(worker::network_missing(network_error_, clock_.boot_now() - network_missing_since_));
  }
  auto attached = network->setup(instance, mode, ports);
  if (!attached) return tl::make_unexpected(std::move(attached).error());
  return worker::NetworkUp{attached->netns, attached->address};
}

Status NodeHost::network_down(InstanceId instance) {
  if (auto network = this->network()) return network->teardown(instance);
  std::lock_guard lock(mutex_);
  if (!welcomed_) return fail(ErrorCode::unavailable, "the node has not been welcomed by its manager yet");
  return {};  // no network could be made, so there is nothing of it
}

Result<driver::ImageOnDisk> NodeHost::image(const std::string& reference) {
  std::shared_ptr<worker::ImageStore> images;
  std::shared_ptr<worker::ImageFetcher> fetcher;
  {
    std::lock_guard lock(mutex_);
    images = images_;
    fetcher = fetcher_;
  }
  if (!images || !fetcher) return fail(ErrorCode::unavailable, "the node has not been welcomed by its manager yet");
  auto ready = images->ensure(reference, *fetcher);
  if (!ready) return ready;
  bool fresh = false;
  {
    std::lock_guard lock(mutex_);
    fresh = known_images_.insert(reference).second;
  }
  if (fresh) tell_images(*images);
  return ready;
}

void NodeHost::on_images(std::function<void(NodeImages)> told) {
  std::lock_guard lock(mutex_);
  told_ = std::move(told);
}

void NodeHost::tell_images(worker::ImageStore& images) {
  std::lock_guard one(telling_);
  auto stored = images.list();
  std::function<void(NodeImages)> told;
  {
    std::lock_guard lock(mutex_);
    told = told_;
  }
  if (!stored || !told) return;
  NodeImages out;
  for (worker::StoredImage& image : *stored)
    out.held.push_back({std::move(image.digest), {static_cast<int64_t>(image.bytes)}});
  std::sort(out.held.begin(), out.held.end(), [](const HeldImage& a, const HeldImage& b) {
    return std::pair(b.bytes, a.digest) < std::pair(a.bytes, b.digest);
  });
  if (out.held.size() > limits::kImagesToldMax) out.held.resize(limits::kImagesToldMax);
  told(std::move(out));
}

// The rule is unused_image_kept(): after a day, or after minutes where the disk is low.
void NodeHost::tidy_images(const std::vector<std::string>& in_use, Time now) {
  std::shared_ptr<worker::ImageStore> images;
  {
    std::lock_guard lock(mutex_);
    images = images_;
  }
  if (!images) return;
  const auto free = sys::free_percent(data_dir_ + "/images");
  if (!free) return log_warning("the disk of the images cannot be looked at", {{"error", free.error().to_string()}});
  const Duration kept = worker::unused_image_kept(*free);
  auto removed = images->remove_unused(in_use, now - kept);
  if (!removed) log_warning("unused images were not removed", {{"error", removed.error().to_string()}});
  if (removed && removed->empty()) return;
  if (removed)
    log_info("images removed", {{"count", std::to_string(removed->size())},
                                {"unused_for", format_duration(kept)},
                                {"disk_free_percent", std::to_string(*free)}});
  {
    std::lock_guard lock(mutex_);
    known_images_.clear();
  }
  tell_images(*images);
}

void NodeHost::sweep(const std::vector<InstanceId>& live) {
  auto network = this->network();
  if (!network) return;
  if (Status swept = network->sweep(live); !swept)
    log_warning("network leftovers", {{"error", swept.error().to_string()}});
}

void NodeHost::remove_everything(const std::string& pool_id, const std::string& node_name, const std::string& subnet) {
  auto network = worker::InstanceNetwork::open({pool_id, node_name, subnet, run_dir_});
  Status removed = network ? (*network)->remove_everything() : Status(tl::make_unexpected(network.error()));
  if (!removed) log_warning("the node's network was not removed", {{"error", removed.error().to_string()}});
}

}  // namespace tutti::app
