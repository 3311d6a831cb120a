#include "worker/network.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "sys/netns.h"

namespace tutti::worker {
namespace {

namespace fs = std::filesystem;
using sys::Netlink;
using sys::NetNs;
using sys::UniqueFd;

constexpr InstanceId kOne{1001};
constexpr InstanceId kTwo{1002};

PortBinding port(int32_t host, int32_t container, Protocol protocol = Protocol::tcp) {
  return {"web", "p" + std::to_string(container), container, host, protocol};
}

sockaddr_in endpoint(const std::string& address, int port_number) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port_number));
  ::inet_pton(AF_INET, address.c_str(), &to.sin_addr);
  return to;
}

// Sockets belong to the namespace they are made in, whichever thread uses them later.
UniqueFd socket_in(const NetNs& netns, int type) {
  UniqueFd fd;
  auto made = netns.run_in([&]() -> Status {
    fd.reset(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    return {};
  });
  timeval patience{2, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);  // also limits connect()
  return made ? std::move(fd) : UniqueFd();
}

UniqueFd listen_in(const NetNs& netns, int port_number, int type = SOCK_STREAM) {
  UniqueFd fd = socket_in(netns, type);
  sockaddr_in at = endpoint("0.0.0.0", port_number);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  if (type == SOCK_STREAM) EXPECT_EQ(::listen(fd.get(), 16), 0);
  return fd;
}

bool connects(const NetNs& from, const std::string& address, int port_number) {
  UniqueFd fd = socket_in(from, SOCK_STREAM);
  sockaddr_in to = endpoint(address, port_number);
  return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
}

// Whether a connection arrives at this server, and not just at somebody.
bool reaches(const NetNs& from, const std::string& address, int port_number, const UniqueFd& server) {
  if (!connects(from, address, port_number)) return false;
  pollfd ready{server.get(), POLLIN, 0};
  if (::poll(&ready, 1, 2000) != 1) return false;
  return static_cast<bool>(UniqueFd(::accept(server.get(), nullptr, nullptr)));
}

// A node in a namespace of its own, with another machine beside it: 192.0.2.1 (node) and 192.0.2.2.
class InstanceNetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    auto node = NetNs::create();
    auto other = NetNs::create();
    if (!node || !other) GTEST_SKIP() << "no network namespaces: " << (node ? other : node).error().message;
    node_ = std::move(*node);
    other_ = std::move(*other);
    std::string pattern = testing::TempDir() + "/network_test.XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    Netlink inside = Netlink::open_in(*node_).value();
    Netlink outside = Netlink::open_in(*other_).value();
    ASSERT_TRUE(inside.set_up(inside.link("lo")->index));
    ASSERT_TRUE(inside.create_veth({"uplink", "eth0", other_->fd(), 0}));
    ASSERT_TRUE(inside.add_address(inside.link("uplink")->index, sys::parse_ipv4("192.0.2.1").value(), 24));
    ASSERT_TRUE(outside.add_address(outside.link("eth0")->index, sys::parse_ipv4("192.0.2.2").value(), 24));
    ASSERT_TRUE(outside.set_up(outside.link("eth0")->index));
    open();
  }
  void TearDown() override {
    if (network_) in_node([&] { EXPECT_TRUE(network_->remove_everything()); });
    network_.reset();
    if (dir_.empty()) return;
    std::error_code ignored;
    for (const auto& file : fs::directory_iterator(dir_ / "net", ignored)) ::umount2(file.path().c_str(), MNT_DETACH);
    fs::remove_all(dir_);
  }

  void in_node(const std::function<void()>& f) {
    auto ran = node_->run_in([&]() -> Status {
      f();
      return {};
    });
    ASSERT_TRUE(ran.has_value());
  }
  NetworkOptions options(std::string pool = "pool01", std::string subnet = "10.86.3.0/24") {
    return {std::move(pool), "node-a", std::move(subnet), dir_};
  }
  void open() {
    in_node([&] {
      auto opened = InstanceNetwork::open(options());
      if (opened) network_ = std::move(*opened);
      if (!opened) error_ = opened.error().message;
    });
    if (!network_) GTEST_SKIP() << error_;
  }
  driver::DriverResult<Attachment> setup(InstanceId id, const std::vector<PortBinding>& ports = {},
                                         NetworkMode mode = NetworkMode::bridge) {
    driver::DriverResult<Attachment> result;
    in_node([&] { result = network_->setup(id, mode, ports); });
    return result;
  }
  void teardown(InstanceId id) {
    in_node([&] { EXPECT_TRUE(network_->teardown(id)); });
  }
  size_t veths() {
    network_->wait_idle();
    return Netlink::open_in(*node_)->links(network_->names().veth_prefix)->size();
  }
  static NetNs enter(const Attachment& at) { return NetNs::open(at.netns).value(); }

  std::optional<NetNs> node_;
  std::optional<NetNs> other_;
  fs::path dir_;
  std::string error_;
  std::unique_ptr<InstanceNetwork> network_;
};

TEST(NetworkNamesTest, FitAndDiffer) {
  NetworkNames a = network_names("a-long-pool-id", "node-1");
  NetworkNames b = network_names("a-long-pool-id", "node-2");
  NetworkNames c = network_names("a-long-pool-ie", "node-1");
  EXPECT_LE(a.bridge.size(), 15u);
  EXPECT_LE(a.veth(InstanceId{~uint64_t{0} >> 4}).size(), 15u);
  EXPECT_NE(a.bridge, b.bridge);
  EXPECT_NE(a.bridge, c.bridge);
  EXPECT_NE(a.table, b.table);
  EXPECT_NE(a.veth(kOne), a.veth(kTwo));
  EXPECT_NE(a.veth_prefix, b.veth_prefix);
}

TEST(NetworkAddressTest, RoundTheSubnet) {
  sys::Prefix subnet = sys::parse_prefix("10.0.0.0/29").value();
  auto at = [](const char* text) { return sys::parse_ipv4(text).value(); };
  EXPECT_EQ(next_address(subnet, {}, {}), at("10.0.0.2"));
  EXPECT_EQ(next_address(subnet, at("10.0.0.4"), {}), at("10.0.0.5"));
  EXPECT_EQ(next_address(subnet, at("10.0.0.6"), {}), at("10.0.0.2"));
  EXPECT_EQ(next_address(subnet, at("10.0.0.4"), {at("10.0.0.5"), at("10.0.0.6")}), at("10.0.0.2"));
  std::vector<sys::Ipv4> all;
  for (uint32_t i = 2; i <= 6; ++i) all.push_back({subnet.network.value + i});
  EXPECT_EQ(next_address(subnet, at("10.0.0.3"), all), sys::Ipv4{});
}

TEST(NetworkMissingTest, IsAwaitedAndThenGivenUp) {
  const std::string why = "the subnet overlaps another's";
  EXPECT_EQ(network_missing(why, Duration{0}).kind, driver::FailureKind::retryable);
  EXPECT_EQ(network_missing(why, kNetworkAwaited - milliseconds(1)).kind, driver::FailureKind::retryable);
  EXPECT_EQ(network_missing(why, kNetworkAwaited).kind, driver::FailureKind::rejected);
  EXPECT_EQ(network_missing("", seconds(3600)).kind, driver::FailureKind::retryable) << "it was not tried yet";
  EXPECT_EQ(network_missing(why, Duration{0}).error.message, "this node has no network for instances: " + why);
}

TEST_F(InstanceNetworkTest, InstancesReachEachOtherAndBeyond) {
  auto one = setup(kOne);
  auto two = setup(kTwo);
  ASSERT_TRUE(one.has_value()) << one.error().error.message;
  ASSERT_TRUE(two.has_value());
  EXPECT_EQ(one->address, "10.86.3.2");
  EXPECT_EQ(two->address, "10.86.3.3");
  UniqueFd server = listen_in(enter(*two), 80);
  EXPECT_TRUE(reaches(enter(*one), two->address, 80, server));
  EXPECT_TRUE(reaches(*node_, two->address, 80, server));
  UniqueFd far = listen_in(*other_, 81);  // needs masquerading: the other machine knows no way back
  EXPECT_TRUE(reaches(enter(*one), "192.0.2.2", 81, far));
}

TEST_F(InstanceNetworkTest, PublishedPortsAnswerFromEverywhere) {
  auto one = setup(kOne, {port(20001, 80), port(20001, 53, Protocol::udp)});
  auto two = setup(kTwo);
  ASSERT_TRUE(one.has_value()) << one.error().error.message;
  UniqueFd server = listen_in(enter(*one), 80);
  EXPECT_TRUE(reaches(*other_, "192.0.2.1", 20001, server)) << "from another machine";
  EXPECT_TRUE(reaches(*node_, "127.0.0.1", 20001, server)) << "from the node over loopback";
  EXPECT_TRUE(reaches(*node_, "192.0.2.1", 20001, server)) << "from the node over its own address";
  EXPECT_TRUE(reaches(enter(*two), "192.0.2.1", 20001, server)) << "from a neighbour";
  EXPECT_TRUE(reaches(enter(*one), "192.0.2.1", 20001, server)) << "from itself";
  EXPECT_FALSE(connects(*other_, "192.0.2.1", 20002));

  UniqueFd dns = listen_in(enter(*one), 53, SOCK_DGRAM);
  UniqueFd client = socket_in(*other_, SOCK_DGRAM);
  sockaddr_in to = endpoint("192.0.2.1", 20001);
  ASSERT_EQ(::sendto(client.get(), "q", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 1);
  char byte = 0;
  sockaddr_in from{};
  socklen_t size = sizeof from;
  ASSERT_EQ(::recvfrom(dns.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&from), &size), 1);
  ASSERT_EQ(::sendto(dns.get(), "a", 1, 0, reinterpret_cast<sockaddr*>(&from), size), 1);
  EXPECT_EQ(::recv(client.get(), &byte, 1, 0), 1);
  EXPECT_EQ(byte, 'a');

  teardown(kOne);
  EXPECT_FALSE(connects(*node_, "127.0.0.1", 20001));
  EXPECT_FALSE(connects(*other_, "192.0.2.1", 20001));
}

TEST_F(InstanceNetworkTest, TheNodesLoopbackIsClosedToInstances) {
  auto one = setup(kOne);
  UniqueFd secret;
  in_node([&] {
    secret.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in at = endpoint("127.0.0.1", 9);
    ASSERT_EQ(::bind(secret.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    ASSERT_EQ(::listen(secret.get(), 1), 0);
  });
  // The instance sends for 127.0.0.1 to its gateway, as a hostile one can: its own lo must not take it.
  NetNs inside = enter(*one);
  auto prepared = inside.run_in([]() -> Status { return sys::set_net_sysctl("ipv4/conf/eth0/route_localnet", "1"); });
  ASSERT_TRUE(prepared.has_value()) << prepared.error().message;
  Netlink netlink = Netlink::open_in(inside).value();
  auto run = inside.run_in([]() -> Status {
    int status = std::system(
        "ip addr del 127.0.0.1/8 dev lo && ip route add 127.0.0.1 via 10.86.3.1 dev eth0 onlink 2>/dev/null");
    return status == 0 ? Status() : fail(ErrorCode::unsupported, "no ip command");
  });
  if (!run) GTEST_SKIP() << "the route cannot be made here";
  EXPECT_FALSE(connects(inside, "127.0.0.1", 9));
}

TEST_F(InstanceNetworkTest, SetupAgainChangesNothing) {
  auto first = setup(kOne, {port(20001, 80)});
  ASSERT_TRUE(first.has_value());
  uint64_t inode = enter(*first).inode().value();
  auto again = setup(kOne, {port(20001, 80)});
  ASSERT_TRUE(again.has_value()) << again.error().error.message;
  EXPECT_EQ(again->address, first->address);
  EXPECT_EQ(enter(*again).inode().value(), inode);
  // Other ports: the namespace stays.
  auto moved = setup(kOne, {port(20005, 80)});
  ASSERT_TRUE(moved.has_value());
  EXPECT_EQ(enter(*moved).inode().value(), inode);
  UniqueFd server = listen_in(enter(*moved), 80);
  EXPECT_TRUE(reaches(*node_, "127.0.0.1", 20005, server));
  EXPECT_FALSE(connects(*node_, "127.0.0.1", 20001));
}

TEST_F(InstanceNetworkTest, ATakenPortIsRejectedByName) {
  UniqueFd thief = listen_in(*node_, 20001);
  auto one = setup(kOne, {port(20001, 80)});
  ASSERT_FALSE(one.has_value());
  EXPECT_EQ(one.error().kind, driver::FailureKind::rejected);
  EXPECT_EQ(one.error().error.message, "port 20001 is taken by another process on this node");
  EXPECT_EQ(veths(), 0u);
  thief.reset();
  EXPECT_TRUE(setup(kOne, {port(20001, 80)}).has_value());
  auto two = setup(kTwo, {port(20001, 81)});
  ASSERT_FALSE(two.has_value());
  EXPECT_EQ(two.error().kind, driver::FailureKind::retryable);
  EXPECT_NE(two.error().error.message.find("20001"), std::string::npos);
  // Held: no other process gets it while the instance has it.
  UniqueFd late = socket_in(*node_, SOCK_STREAM);
  sockaddr_in at = endpoint("0.0.0.0", 20001);
  EXPECT_NE(::bind(late.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  // UDP is another space.
  EXPECT_TRUE(setup(kTwo, {port(20001, 53, Protocol::udp)}).has_value());
}

TEST_F(InstanceNetworkTest, ModesHostAndNone) {
  auto host = setup(kOne, {}, NetworkMode::host);
  ASSERT_TRUE(host.has_value());
  EXPECT_EQ(host->netns, "");
  auto none = setup(kTwo, {}, NetworkMode::none);
  ASSERT_TRUE(none.has_value()) << none.error().error.message;
  EXPECT_EQ(none->address, "");
  auto links = Netlink::open_in(enter(*none))->links();
  EXPECT_TRUE(std::all_of(links->begin(), links->end(),
                          [](const sys::Link& l) { return l.name == "lo" ? l.up : l.kind != "veth"; }));
  EXPECT_EQ(veths(), 0u);
}

TEST_F(InstanceNetworkTest, TeardownLeavesNothing) {
  ASSERT_TRUE(setup(kOne, {port(20001, 80)}).has_value());
  EXPECT_EQ(veths(), 1u);
  teardown(kOne);
  teardown(kOne);
  EXPECT_EQ(veths(), 0u);
  EXPECT_TRUE(fs::is_empty(dir_ / "net"));
  auto again = setup(kOne);
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->address, "10.86.3.3") << "an address just given up is not given at once";
}

TEST_F(InstanceNetworkTest, TheSubnetRunsOut) {
  in_node([&] {
    auto small = InstanceNetwork::open(options("other1", "10.99.0.0/29"));
    ASSERT_TRUE(small.has_value()) << small.error().message;
    for (uint64_t i = 1; i <= 5; ++i) ASSERT_TRUE((*small)->setup(InstanceId{i}, NetworkMode::bridge, {}).has_value());
    auto sixth = (*small)->setup(InstanceId{6}, NetworkMode::bridge, {});
    ASSERT_FALSE(sixth.has_value());
    EXPECT_EQ(sixth.error().kind, driver::FailureKind::rejected);
    EXPECT_NE(sixth.error().error.message.find("10.99.0.0/29"), std::string::npos);
    EXPECT_TRUE((*small)->remove_everything());
  });
}

TEST_F(InstanceNetworkTest, TwoPoolsSideBySide) {
  in_node([&] {
    NetworkOptions theirs = options("pool02", "10.87.0.0/24");
    theirs.run_dir = dir_ / "second";
    auto second = InstanceNetwork::open(theirs);
    ASSERT_TRUE(second.has_value()) << second.error().message;
    auto here = network_->setup(kOne, NetworkMode::bridge, {port(20001, 80)});
    ASSERT_TRUE(here.has_value());
    auto clash = (*second)->setup(kOne, NetworkMode::bridge, {port(20001, 80)});
    ASSERT_FALSE(clash.has_value());
    EXPECT_EQ(clash.error().error.message, "port 20001 is taken by another process on this node");
    auto there = (*second)->setup(kOne, NetworkMode::bridge, {port(20002, 80)});
    ASSERT_TRUE(there.has_value()) << there.error().error.message;
    UniqueFd server = listen_in(enter(*there), 80);
    EXPECT_TRUE(reaches(*node_, "127.0.0.1", 20002, server));
    EXPECT_TRUE((*second)->remove_everything());
    UniqueFd ours = listen_in(enter(*here), 80);
    EXPECT_TRUE(reaches(*node_, "127.0.0.1", 20001, ours));
    NetworkOptions overlapping = options("pool03", "10.86.3.0/25");
    EXPECT_EQ(InstanceNetwork::open(overlapping).error().code, ErrorCode::conflict);
  });
}

TEST_F(InstanceNetworkTest, ANewProcessGoesOnWithWhatIsThere) {
  auto one = setup(kOne, {port(20001, 80)});
  auto two = setup(kTwo, {port(20002, 80)});
  ASSERT_TRUE(one.has_value() && two.has_value());
  uint64_t inode = enter(*one).inode().value();
  UniqueFd server = listen_in(enter(*one), 80);
  network_.reset();
  EXPECT_TRUE(reaches(*node_, "127.0.0.1", 20001, server)) << "without a worker the ports go on";
  open();
  ASSERT_TRUE(network_);
  in_node([&] {
    EXPECT_TRUE(network_->adopt({{kOne, one->address, {port(20001, 80)}}, {InstanceId{77}, "", {}}}).empty());
    EXPECT_TRUE(network_->sweep({kOne}));
  });
  EXPECT_TRUE(reaches(*node_, "127.0.0.1", 20001, server));
  EXPECT_EQ(veths(), 1u);
  EXPECT_FALSE(fs::exists(two->netns));
  auto again = setup(kOne, {port(20001, 80)});
  ASSERT_TRUE(again.has_value()) << again.error().error.message;
  EXPECT_EQ(enter(*again).inode().value(), inode);
}

TEST_F(InstanceNetworkTest, ALostPinIsFoundByTheProcessesInside) {
  auto one = setup(kOne);
  ASSERT_TRUE(one.has_value());
  NetNs inside = enter(*one);
  uint64_t inode = inside.inode().value();
  int gate[2];
  ASSERT_EQ(::pipe2(gate, O_CLOEXEC), 0);
  int child = -1;
  ASSERT_TRUE(inside.run_in([&]() -> Status {
    child = ::fork();
    if (child == 0) {  // waits in the namespace until the pipe is closed
      char byte;
      ::close(gate[1]);
      (void)!::read(gate[0], &byte, 1);
      ::_exit(0);
    }
    return {};
  }));
  ASSERT_EQ(::umount2(one->netns.c_str(), MNT_DETACH), 0);
  network_.reset();
  open();
  in_node([&] { EXPECT_TRUE(network_->adopt({{kOne, one->address, {}}}).empty()); });
  EXPECT_EQ(NetNs::open(one->netns).value().inode().value(), inode);
  ::close(gate[1]);
  ::close(gate[0]);
  ::waitpid(child, nullptr, 0);
  // With nobody inside any more it is lost, and setup makes another with the same address.
  ASSERT_EQ(::umount2(one->netns.c_str(), MNT_DETACH), 0);
  {
    NetNs gone = std::move(inside);
  }
  in_node([&] { EXPECT_EQ(network_->adopt({{kOne, one->address, {}}}), std::vector<InstanceId>{kOne}); });
  auto again = setup(kOne);
  ASSERT_TRUE(again.has_value()) << again.error().error.message;
  EXPECT_EQ(again->address, one->address);
}

TEST_F(InstanceNetworkTest, ACrashHalfWayIsRepaired) {
  auto one = setup(kOne, {port(20001, 80)});
  ASSERT_TRUE(one.has_value());
  std::string record = (dir_ / "net" / (to_text(kOne) + ".json")).string();
  std::stringstream text;
  text << std::ifstream(record).rdbuf();
  teardown(kOne);
  network_->wait_idle();
  network_.reset();
  // The record was written, a veth of that name was made, then the process died.
  std::ofstream(record) << text.str();
  std::ofstream(dir_ / "net" / (to_text(kTwo) + ".ns"));
  NetworkNames names = network_names("pool01", "node-a");
  Netlink netlink = Netlink::open_in(*node_).value();
  ASSERT_TRUE(netlink.create_veth({names.veth(kOne), "peer1", -1, 0}));
  ASSERT_TRUE(netlink.create_veth({names.veth(kTwo), "peer2", -1, 0}));
  open();
  in_node([&] { EXPECT_TRUE(network_->sweep({kOne})); });
  auto again = setup(kOne, {port(20001, 80)});
  ASSERT_TRUE(again.has_value()) << again.error().error.message;
  EXPECT_EQ(again->address, one->address);
  EXPECT_EQ(veths(), 1u);
  EXPECT_FALSE(fs::exists(dir_ / "net" / (to_text(kTwo) + ".ns")));
  UniqueFd server = listen_in(enter(*again), 80);
  EXPECT_TRUE(reaches(*node_, "127.0.0.1", 20001, server));
}

TEST_F(InstanceNetworkTest, ManyAtOnce) {
  constexpr uint64_t kCount = 40;
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::set<std::string> addresses;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      EXPECT_TRUE(node_->run_in([&]() -> Status {
        for (uint64_t i = t; i < kCount; i += 4) {
          auto at =
              network_->setup(InstanceId{i + 1}, NetworkMode::bridge, {port(static_cast<int32_t>(21000 + i), 80)});
          EXPECT_TRUE(at.has_value()) << at.error().error.message;
          std::lock_guard lock(mutex);
          if (at) addresses.insert(at->address);
        }
        return {};
      }));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(addresses.size(), kCount);
  EXPECT_EQ(veths(), kCount);
}

TEST_F(InstanceNetworkTest, WrongSubnetsAreRefused) {
  in_node([&] {
    for (const char* wrong : {"", "10.0.0.1/24", "10.0.0.0/30", "0.0.0.0/0"}) {
      auto opened = InstanceNetwork::open(options("poolxx", wrong));
      ASSERT_FALSE(opened.has_value()) << wrong;
      EXPECT_EQ(opened.error().code, ErrorCode::invalid) << wrong;
    }
    EXPECT_EQ(InstanceNetwork::open(options("poolxx", "192.0.2.0/24")).error().code, ErrorCode::conflict);
  });
}

}  // namespace
}  // namespace tutti::worker
