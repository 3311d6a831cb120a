#include "worker/network.h"

#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/log.h"
#include "sys/file.h"
#include "sys/netns.h"

namespace tutti::worker {
namespace {

constexpr std::string_view kRecordSuffix = ".json";
constexpr std::string_view kPinSuffix = ".ns";
constexpr const char* kInside = "eth0";

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory.c_str()), ::closedir);
  if (!dir) return names;
  while (dirent* one = ::readdir(dir.get())) names.emplace_back(one->d_name);
  return names;
}

// "<12 letters><suffix>" → the id; none for anything else.
InstanceId id_of_file(std::string_view name, std::string_view suffix) {
  if (!name.ends_with(suffix)) return {};
  auto id = parse_id_text(name.substr(0, name.size() - suffix.size()));
  return id ? InstanceId{*id} : InstanceId{};
}

std::vector<sys::PublishedPort> published_ports(const NetworkRecord& record) {
  std::vector<sys::PublishedPort> ports;
  auto address = sys::parse_ipv4(record.address);
  if (record.mode != NetworkMode::bridge || !address) return ports;
  for (const PortBinding& port : record.ports) {
    if (port.host <= 0 || port.host > 65535 || port.container <= 0 || port.container > 65535) continue;
    ports.push_back({port.protocol == Protocol::udp, static_cast<uint16_t>(port.host), *address,
                     static_cast<uint16_t>(port.container)});
  }
  return ports;
}

bool same_binding(const PortBinding& a, const PortBinding& b) {
  return a.host == b.host && a.protocol == b.protocol && a.host != 0;
}

// A socket that has the port on all addresses. TCP listens: two sockets that only bind could share it.
Result<sys::UniqueFd> take_port(const PortBinding& port) {
  bool udp = port.protocol == Protocol::udp;
  sys::UniqueFd fd(::socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("open a socket", errno);
  int one = 1;
  // Connections of an earlier owner that wait out their time do not make the port taken.
  if (!udp) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port.host));
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      (!udp && ::listen(fd.get(), 1) != 0)) {
    if (errno == EADDRINUSE) {
      return fail(ErrorCode::conflict, "port " + std::to_string(port.host) + (udp ? "/udp" : "") +
                                           " is taken by another process on this node");
    }
    return fail_errno("take port " + std::to_string(port.host), errno);
  }
  return fd;
}

void warn_sysctl(const std::string& name, const std::string& value, const char* without) {
  Status set = sys::set_net_sysctl(name, value);
  if (!set)
    log_warning("cannot set a network setting",
                {{"setting", name}, {"without", without}, {"error", set.error().message}});
}

}  // namespace

InstanceNetwork::InstanceNetwork(const NetworkOptions& options, sys::Prefix subnet)
    : names_(network_names(options.pool_id, options.node_name)), subnet_(subnet), dir_(options.run_dir + "/net") {}

driver::Failure network_missing(const std::string& why, Duration missing_for) {
  const bool awaited = why.empty() || missing_for < kNetworkAwaited;
  return {awaited ? driver::FailureKind::retryable : driver::FailureKind::rejected,
          {ErrorCode::unavailable, "this node has no network for instances: " + why, {}, 0}};
}

InstanceNetwork::~InstanceNetwork() {
  {
    std::lock_guard lock(reaper_mutex_);
    stopping_ = true;  // what still waits is found by the next process's sweep
  }
  reaper_wake_.notify_all();
  if (reaper_.joinable()) reaper_.join();
}

std::string InstanceNetwork::record_path(InstanceId instance) const {
  return dir_ + "/" + to_text(instance) + std::string(kRecordSuffix);
}
std::string InstanceNetwork::pin_path(InstanceId instance) const {
  return dir_ + "/" + to_text(instance) + std::string(kPinSuffix);
}

// ---- start

Result<std::unique_ptr<InstanceNetwork>> InstanceNetwork::open(const NetworkOptions& options) {
  TUTTI_TRY(sys::Prefix subnet, sys::parse_prefix(options.subnet));
  if (subnet.length < 8 || subnet.length > 29) {
    return fail(ErrorCode::invalid, "subnet " + options.subnet + " of this node must be a /8 to /29");
  }
  std::unique_ptr<InstanceNetwork> network(new InstanceNetwork(options, subnet));
  TUTTI_CHECK(sys::make_dirs(network->dir_, 0700));
  TUTTI_CHECK(network->load_records());
  TUTTI_CHECK(network->make_bridge());
  TUTTI_TRY(network->rules_, sys::NftTable::open({network->names_.table, network->names_.bridge, subnet}));
  for (const auto& [id, entry] : network->entries_) network->published_[id] = published_ports(entry.record);
  {
    std::lock_guard lock(network->rules_mutex_);
    TUTTI_CHECK(network->rebuild_rules());
  }
  warn_sysctl("ipv4/ip_forward", "1", "instances reach nothing outside of this node, published ports do not work");
  warn_sysctl("ipv4/conf/" + network->names_.bridge + "/route_localnet", "1",
              "published ports do not answer on 127.0.0.1");
  warn_sysctl("ipv4/conf/" + network->names_.bridge + "/send_redirects", "0", "needless redirects go to instances");
  TUTTI_TRY(sys::Netlink netlink, sys::Netlink::open());
  network->reaper_netlink_ = std::make_unique<sys::Netlink>(std::move(netlink));
  network->reaper_ = std::thread([self = network.get()] { self->reap(); });
  return network;
}

Status InstanceNetwork::load_records() {
  for (const std::string& name : names_in(dir_)) {
    InstanceId id = id_of_file(name, kRecordSuffix);
    if (!id) continue;
    auto text = sys::read_file(dir_ + "/" + name);
    auto record = text ? parse_network_record(*text) : Result<NetworkRecord>(tl::make_unexpected(text.error()));
    if (!record || record->instance != id) {
      // sweep() then takes away what it stood for.
      log_warning("network record cannot be read",
                  {{"file", name}, {"error", record ? "names another instance" : record.error().message}});
      continue;
    }
    entries_[id].record = std::move(*record);
  }
  return {};
}

Status InstanceNetwork::check_subnet(sys::Netlink& netlink, int bridge_index) const {
  TUTTI_TRY(auto routes, netlink.routes());
  TUTTI_TRY(auto links, netlink.links());
  for (const sys::Route& route : routes) {
    if (route.index == bridge_index || route.destination.length == 0 || !route.destination.overlaps(subnet_)) continue;
    std::string who = "a route";
    bool bridge = false;
    for (const sys::Link& link : links) {
      if (link.index != route.index) continue;
      who = "link " + link.name;
      bridge = link.kind == "bridge";
    }
    std::string what =
        "subnet " + to_text(subnet_) + " of this node overlaps " + to_text(route.destination) + " of " + who;
    // Inside a wide network of the site there may be room; inside somebody's bridge there are instances.
    if (route.destination.length < subnet_.length && !bridge) {
      log_warning("machines in the node's subnet cannot be reached from here", {{"why", what}});
      continue;
    }
    return fail(ErrorCode::conflict, what + "; give the pool another address range");
  }
  return {};
}

// The subnet may have changed since an earlier process; its addresses stay while an instance uses them.
Status InstanceNetwork::replace_addresses(sys::Netlink& netlink, int bridge_index) const {
  TUTTI_TRY(auto addresses, netlink.addresses());
  sys::Ipv4 gateway{subnet_.network.value + 1};
  for (const sys::LinkAddress& one : addresses) {
    if (one.index != bridge_index || (one.address == gateway && one.length == subnet_.length)) continue;
    sys::Prefix old{{}, one.length};
    old.network.value = one.address.value & old.mask();
    bool used = std::any_of(entries_.begin(), entries_.end(), [&](const auto& entry) {
      auto address = sys::parse_ipv4(entry.second.record.address);
      return address && old.contains(*address);
    });
    if (!used) TUTTI_CHECK(netlink.delete_address(bridge_index, one.address, one.length));
  }
  return netlink.add_address(bridge_index, gateway, subnet_.length);
}

Status InstanceNetwork::make_bridge() {
  TUTTI_TRY(sys::Netlink netlink, sys::Netlink::open());
  auto bridge = netlink.link(names_.bridge);
  TUTTI_CHECK(check_subnet(netlink, bridge ? bridge->index : -1));
  if (!bridge) {
    if (bridge.error().code != ErrorCode::not_found) return tl::make_unexpected(bridge.error());
    TUTTI_CHECK(netlink.create_bridge(names_.bridge));
    bridge = netlink.link(names_.bridge);
    if (!bridge) return tl::make_unexpected(bridge.error());
  }
  if (bridge->kind != "bridge") {
    return fail(ErrorCode::conflict, "link " + names_.bridge + " is there but is no bridge; remove it");
  }
  bridge_index_ = bridge->index;
  auto filter = sys::read_file("/proc/sys/net/bridge/bridge-nf-call-iptables", 16);
  bridge_filter_ = filter && filter->starts_with("1");
  TUTTI_CHECK(replace_addresses(netlink, bridge_index_));
  return netlink.set_up(bridge_index_);
}

// ---- after a restart

bool InstanceNetwork::find_lost_namespace(const NetworkRecord& record) const {
  if (record.netns == 0) return false;
  for (const std::string& name : names_in("/proc")) {
    if (name.empty() || name[0] < '0' || name[0] > '9') continue;
    std::string path = "/proc/" + name + "/ns/net";
    struct stat st{};
    if (::stat(path.c_str(), &st) != 0 || st.st_ino != record.netns) continue;
    auto netns = sys::NetNs::open(path);
    if (!netns || netns->inode().value_or(0) != record.netns) continue;
    // The kernel gives numbers again: it must also have the address.
    auto netlink = sys::Netlink::open_in(*netns);
    auto addresses =
        netlink ? netlink->addresses() : Result<std::vector<sys::LinkAddress>>(tl::make_unexpected(netlink.error()));
    bool ours = addresses && (record.mode == NetworkMode::none ||
                              std::any_of(addresses->begin(), addresses->end(), [&](const sys::LinkAddress& one) {
                                return to_text(one.address) == record.address;
                              }));
    if (ours && netns->pin(pin_path(record.instance))) return true;
  }
  return false;
}

std::vector<InstanceId> InstanceNetwork::adopt(const std::vector<LiveInstance>& live) {
  std::vector<InstanceId> lost;
  for (const LiveInstance& one : live) {
    NetworkRecord record;
    {
      std::lock_guard lock(mutex_);
      // On the host's network, or never set up: nothing to find again.
      if (!entries_.contains(one.instance) && one.address.empty()) continue;
      Entry& entry = entries_[one.instance];
      if (!entry.record.instance) {  // its record is gone: the address must not be given away all the same
        entry.record = {one.instance, NetworkMode::bridge, one.address, 0, one.ports};
      }
      record = entry.record;
    }
    auto held = hold_ports(one.instance, record.ports);
    if (!held)
      log_warning("published port of a running instance",
                  {{"instance", to_text(one.instance)}, {"error", held.error().error.message}});
    Status published = publish(one.instance, published_ports(record));
    if (!published)
      log_warning("cannot publish ports again",
                  {{"instance", to_text(one.instance)}, {"error", published.error().message}});
    if (!sys::NetNs::is_pinned(pin_path(one.instance)) && !find_lost_namespace(record)) lost.push_back(one.instance);
  }
  return lost;
}

// ---- one instance

Status InstanceNetwork::store(const NetworkRecord& record) const {
  return sys::write_file_atomic(record_path(record.instance), format_network_record(record));
}

void InstanceNetwork::forget(InstanceId instance) {
  std::lock_guard lock(mutex_);
  entries_.erase(instance);
  ::unlink(record_path(instance).c_str());
}

driver::DriverResult<NetworkRecord> InstanceNetwork::claim(InstanceId instance, NetworkMode mode,
                                                           const std::vector<PortBinding>& ports) {
  std::lock_guard lock(mutex_);
  std::vector<sys::Ipv4> taken;
  for (const auto& [id, entry] : entries_) {
    if (id == instance) continue;
    if (auto address = sys::parse_ipv4(entry.record.address)) taken.push_back(*address);
    for (const PortBinding& theirs : entry.record.ports) {
      for (const PortBinding& ours : ports) {
        if (!same_binding(theirs, ours)) continue;
        // The manager gave it away when that one had finished; here it is being taken down just now.
        return driver::retryable(
            {ErrorCode::conflict,
             "port " + std::to_string(ours.host) + " is published for instance " + to_text(id) + " on this node",
             {},
             0});
      }
    }
  }
  auto at = entries_.find(instance);
  NetworkRecord record;
  if (at != entries_.end()) record = at->second.record;
  bool fresh = !record.instance;
  NetworkRecord before = record;
  record.instance = instance;
  record.mode = mode;
  record.ports = ports;
  auto address = sys::parse_ipv4(record.address);
  if (mode == NetworkMode::none) {
    record.address.clear();
  } else if (!address || (!subnet_.contains(*address) && !is_whole(record))) {
    // (One that runs keeps an address of the subnet before.)
    std::sort(taken.begin(), taken.end());
    sys::Ipv4 next = next_address(subnet_, last_address_, taken);
    if (next == sys::Ipv4{}) {
      return driver::rejected({ErrorCode::unprocessable,
                               "no free address in " + to_text(subnet_) + " of this node: all " +
                                   std::to_string(taken.size()) + " are in use",
                               {},
                               0});
    }
    last_address_ = next;
    record.address = to_text(next);
    record.netns = 0;
  }
  if (before.mode != mode && !fresh) record.netns = 0;
  if (fresh || !(record == before)) {
    Status stored = store(record);
    if (!stored) return driver::retryable(std::move(stored).error());
  }
  entries_[instance].record = record;
  return record;
}

driver::DriverStatus InstanceNetwork::hold_ports(InstanceId instance, const std::vector<PortBinding>& ports) {
  std::lock_guard lock(mutex_);
  Entry& entry = entries_[instance];
  entry.held_ports.clear();
  for (const PortBinding& port : ports) {
    if (port.host <= 0 || port.host > 65535) continue;
    auto fd = take_port(port);
    if (!fd) {
      entry.held_ports.clear();
      Error error = std::move(fd).error();
      return error.code == ErrorCode::conflict ? driver::rejected(std::move(error))
                                               : driver::retryable(std::move(error));
    }
    entry.held_ports.push_back(std::move(*fd));
  }
  return {};
}

bool InstanceNetwork::is_whole(const NetworkRecord& record) const {
  if (record.netns == 0) return false;
  auto netns = sys::NetNs::open(pin_path(record.instance));
  if (!netns || netns->inode().value_or(0) != record.netns) return false;
  if (record.mode == NetworkMode::none) return true;
  auto netlink = sys::Netlink::open();
  if (!netlink) return false;
  auto link = netlink->link(names_.veth(record.instance));
  return link && link->master == bridge_index_ && link->up;
}

Status InstanceNetwork::make_namespace(const NetworkRecord& record) {
  std::string pin = pin_path(record.instance);
  TUTTI_CHECK(sys::NetNs::unpin(pin));  // of an attempt that broke off
  TUTTI_TRY(sys::NetNs netns, sys::NetNs::create());
  TUTTI_TRY(sys::Netlink inside, sys::Netlink::open_in(netns));
  TUTTI_TRY(sys::Link lo, inside.link("lo"));
  TUTTI_CHECK(inside.set_up(lo.index));
  if (record.mode == NetworkMode::bridge) {
    TUTTI_TRY(sys::Netlink outside, sys::Netlink::open());
    sys::VethRequest request{names_.veth(record.instance), kInside, netns.fd(), bridge_index_};
    Status made = outside.create_veth(request);
    if (!made && made.error().code == ErrorCode::conflict) {  // left of a broken attempt, or not deleted yet
      TUTTI_TRY(sys::Link old, outside.link(request.name));
      TUTTI_CHECK(outside.delete_link(old.index));
      made = outside.create_veth(request);
    }
    TUTTI_CHECK(made);
    if (bridge_filter_) {
      TUTTI_TRY(sys::Link port, outside.link(request.name));
      TUTTI_CHECK(outside.set_hairpin(port.index));
    }
    TUTTI_TRY(sys::Link eth, inside.link(kInside));
    TUTTI_TRY(sys::Ipv4 address, sys::parse_ipv4(record.address));
    TUTTI_CHECK(inside.add_address(eth.index, address, subnet_.length));
    TUTTI_CHECK(inside.set_up(eth.index));
    TUTTI_CHECK(inside.add_default_route({subnet_.network.value + 1}));
  }
  TUTTI_CHECK(netns.pin(pin));
  NetworkRecord made = record;
  TUTTI_TRY(made.netns, netns.inode());
  std::lock_guard lock(mutex_);
  entries_[record.instance].record = made;
  return store(made);
}

Status InstanceNetwork::rebuild_rules() {
  std::vector<sys::PublishedPort> all;
  for (const auto& [id, ports] : published_) all.insert(all.end(), ports.begin(), ports.end());
  return rules_->rebuild(all);
}

Status InstanceNetwork::publish(InstanceId instance, std::vector<sys::PublishedPort> ports) {
  std::lock_guard lock(rules_mutex_);
  std::vector<sys::PublishedPort>& now = published_[instance];
  std::vector<sys::PublishedPort> before = now;
  if (before == ports) {
    if (ports.empty()) published_.erase(instance);
    return {};
  }
  Status changed = rules_->remove(before);
  now = ports;
  if (changed) changed = rules_->add(ports);
  if (ports.empty()) published_.erase(instance);
  if (changed) return {};
  // Somebody else changed the table, or it is gone: make it as it should be, as a whole.
  log_warning("rules differ from what they should be: made anew", {{"error", changed.error().message}});
  return rebuild_rules();
}

driver::DriverResult<Attachment> InstanceNetwork::setup(InstanceId instance, NetworkMode mode,
                                                        const std::vector<PortBinding>& ports) {
  if (mode == NetworkMode::host) return Attachment{};
  for (const PortBinding& port : ports) {
    if (port.host < 0 || port.host > 65535 || port.container <= 0 || port.container > 65535) {
      return driver::rejected({ErrorCode::invalid, "port " + port.name + " must be 1 to 65535", {}, 0});
    }
  }
  std::vector<PortBinding> wanted = mode == NetworkMode::bridge ? ports : std::vector<PortBinding>{};
  NetworkRecord before;
  bool holds = false;
  {
    std::lock_guard lock(mutex_);
    auto at = entries_.find(instance);
    if (at != entries_.end()) {
      before = at->second.record;
      holds = before.ports == wanted && (!at->second.held_ports.empty() || wanted.empty());
    }
  }
  auto record = claim(instance, mode, wanted);
  if (!record) return tl::make_unexpected(std::move(record).error());
  if (!holds) {
    if (auto held = hold_ports(instance, wanted); !held) {
      if (!before.instance) forget(instance);
      return tl::make_unexpected(std::move(held).error());
    }
  }
  if (!is_whole(*record)) {
    if (Status made = make_namespace(*record); !made) {
      return driver::retryable(std::move(made).error().in("network of instance " + to_text(instance)));
    }
  }
  if (Status published = publish(instance, published_ports(*record)); !published) {
    return driver::retryable(std::move(published).error());
  }
  return Attachment{pin_path(instance), record->address};
}

Status InstanceNetwork::teardown(InstanceId instance) {
  TUTTI_CHECK(publish(instance, {}));
  TUTTI_TRY(sys::Netlink netlink, sys::Netlink::open());
  auto link = netlink.link(names_.veth(instance));
  if (link) delete_link_later(link->index);
  TUTTI_CHECK(sys::NetNs::unpin(pin_path(instance)));
  forget(instance);
  return {};
}

// ---- what is left

Status InstanceNetwork::sweep(const std::vector<InstanceId>& live) {
  std::set<InstanceId> keep(live.begin(), live.end());
  std::set<InstanceId> dead;
  std::set<std::string> links_to_keep;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : entries_) {
      if (!keep.contains(id)) dead.insert(id);
    }
  }
  for (const std::string& name : names_in(dir_)) {
    for (std::string_view suffix : {kRecordSuffix, kPinSuffix}) {
      InstanceId id = id_of_file(name, suffix);
      if (id && !keep.contains(id)) dead.insert(id);
    }
  }
  for (InstanceId id : dead) TUTTI_CHECK(teardown(id));
  for (InstanceId id : keep) links_to_keep.insert(names_.veth(id));
  TUTTI_TRY(sys::Netlink netlink, sys::Netlink::open());
  TUTTI_TRY(auto links, netlink.links(names_.veth_prefix));
  for (const sys::Link& link : links) {
    if (link.kind == "veth" && !links_to_keep.contains(link.name)) delete_link_later(link.index);
  }
  return {};
}

Status InstanceNetwork::remove_everything() {
  TUTTI_CHECK(sweep({}));
  wait_idle();
  TUTTI_CHECK(rules_->remove_table());
  TUTTI_TRY(sys::Netlink netlink, sys::Netlink::open());
  TUTTI_CHECK(netlink.delete_link(bridge_index_));
  return sys::remove_tree(dir_);
}

void InstanceNetwork::delete_link_later(int index) {
  {
    std::lock_guard lock(reaper_mutex_);
    // By number, not by name: the name may belong to the instance's next veth by then. Numbers are not given again.
    doomed_.push_back(index);
  }
  reaper_wake_.notify_one();
}

void InstanceNetwork::reap() {
  std::unique_lock lock(reaper_mutex_);
  for (;;) {
    reaper_wake_.wait(lock, [&] { return stopping_ || !doomed_.empty(); });
    if (stopping_) return;
    int index = doomed_.front();
    doomed_.pop_front();
    reaper_busy_ = true;
    lock.unlock();
    Status deleted = reaper_netlink_->delete_link(index);
    if (!deleted) log_warning("cannot delete a link", {{"error", deleted.error().message}});
    lock.lock();
    reaper_busy_ = false;
    if (doomed_.empty()) reaper_idle_.notify_all();
  }
}

void InstanceNetwork::wait_idle() {
  std::unique_lock lock(reaper_mutex_);
  reaper_idle_.wait(lock, [&] { return doomed_.empty() && !reaper_busy_; });
}

}  // namespace tutti::worker
