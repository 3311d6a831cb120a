#include "sys/netlink.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "sys/netns.h"
#include "sys/nft.h"

namespace tutti::sys {
namespace {

#define ASSERT_OK(expr)                                          \
  do {                                                           \
    auto&& status_ = (expr);                                     \
    ASSERT_TRUE(status_.has_value()) << status_.error().message; \
  } while (0)

// Every test has a network namespace of its own: nothing of the machine is seen or touched.
class NetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = NetNs::create();
    if (!made) GTEST_SKIP() << made.error().message;
    netns_ = std::move(*made);
    auto socket = Netlink::open_in(*netns_);
    ASSERT_OK(socket);
    netlink_ = std::move(*socket);
  }
  std::optional<NetNs> netns_;
  std::optional<Netlink> netlink_;
};

TEST(Prefixes, ParseAndPrint) {
  Prefix p = parse_prefix("10.86.3.0/24").value();
  EXPECT_EQ(to_text(p), "10.86.3.0/24");
  EXPECT_TRUE(p.contains(parse_ipv4("10.86.3.255").value()));
  EXPECT_FALSE(p.contains(parse_ipv4("10.86.4.1").value()));
  EXPECT_TRUE(p.overlaps(parse_prefix("10.0.0.0/8").value()));
  EXPECT_TRUE(p.overlaps(parse_prefix("0.0.0.0/0").value()));
  EXPECT_FALSE(p.overlaps(parse_prefix("10.86.2.0/24").value()));
  for (const char* wrong :
       {"", "10.86.3.0", "10.86.3.1/24", "10.86.3.0/33", "10.86.3.0/-1", "10.86.3.0/2x", "10.86.3/24", "10.86.3.0/"}) {
    EXPECT_FALSE(parse_prefix(wrong).has_value()) << wrong;
  }
}

TEST_F(NetworkTest, ANamespaceIsEmptyAndApart) {
  auto links = netlink_->links();
  ASSERT_OK(links);
  ASSERT_TRUE(std::any_of(links->begin(), links->end(), [](const Link& l) { return l.name == "lo" && !l.up; }));
  EXPECT_NE(netns_->inode().value(), NetNs::current().value().inode().value());
}

TEST_F(NetworkTest, PinOutlivesTheHandle) {
  std::string path = testing::TempDir() + "/netns_pin_test." + std::to_string(::getpid());
  uint64_t inode = netns_->inode().value();
  ASSERT_OK(netns_->pin(path));
  EXPECT_TRUE(NetNs::is_pinned(path));
  netlink_.reset();
  netns_.reset();
  EXPECT_EQ(NetNs::open(path).value().inode().value(), inode);
  ASSERT_OK(NetNs::open(path).value().pin(path));  // twice, as after a crash
  ASSERT_OK(NetNs::unpin(path));
  EXPECT_FALSE(NetNs::is_pinned(path));
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  ASSERT_OK(NetNs::unpin(path));
}

TEST_F(NetworkTest, AFileIsNotANamespace) {
  EXPECT_EQ(NetNs::open("/proc/self/status").error().code, ErrorCode::invalid);
  EXPECT_EQ(NetNs::open("/proc/self/ns/mnt").error().code, ErrorCode::invalid);
}

TEST_F(NetworkTest, BridgeComesAndGoes) {
  ASSERT_OK(netlink_->create_bridge("ttbr0"));
  EXPECT_EQ(netlink_->create_bridge("ttbr0").error().code, ErrorCode::conflict);
  auto bridge = netlink_->link("ttbr0");
  ASSERT_OK(bridge);
  EXPECT_EQ(bridge->kind, "bridge");
  EXPECT_FALSE(bridge->up);
  ASSERT_OK(netlink_->set_up(bridge->index));
  EXPECT_TRUE(netlink_->link("ttbr0")->up);
  Ipv4 address = parse_ipv4("10.86.3.1").value();
  ASSERT_OK(netlink_->add_address(bridge->index, address, 24));
  ASSERT_OK(netlink_->add_address(bridge->index, address, 24));
  auto addresses = netlink_->addresses();
  ASSERT_OK(addresses);
  ASSERT_EQ(addresses->size(), 1u);
  EXPECT_EQ(addresses->front().address, address);
  auto routes = netlink_->routes();
  ASSERT_OK(routes);
  ASSERT_EQ(routes->size(), 1u);
  EXPECT_EQ(to_text(routes->front().destination), "10.86.3.0/24");
  EXPECT_EQ(netlink_->links("ttb")->size(), 1u);
  EXPECT_EQ(netlink_->links("xx")->size(), 0u);
  ASSERT_OK(netlink_->rename(bridge->index, "ttbr1"));
  EXPECT_EQ(netlink_->link("ttbr0").error().code, ErrorCode::not_found);
  ASSERT_OK(netlink_->delete_link(bridge->index));
  ASSERT_OK(netlink_->delete_link(bridge->index));
}

TEST_F(NetworkTest, VethReachesIntoAnotherNamespace) {
  ASSERT_OK(netlink_->create_bridge("ttbr0"));
  Link bridge = netlink_->link("ttbr0").value();
  NetNs inner = NetNs::create().value();
  VethRequest request{"ttveth0", "eth0", inner.fd(), bridge.index};
  ASSERT_OK(netlink_->create_veth(request));
  EXPECT_EQ(netlink_->create_veth(request).error().code, ErrorCode::conflict);
  Link outside = netlink_->link("ttveth0").value();
  EXPECT_EQ(outside.master, bridge.index);
  EXPECT_TRUE(outside.up);
  Netlink in = Netlink::open_in(inner).value();
  Link inside = in.link("eth0").value();
  EXPECT_FALSE(inside.up);
  ASSERT_OK(in.set_up(inside.index));
  ASSERT_OK(in.add_address(inside.index, parse_ipv4("10.86.3.2").value(), 24));
  ASSERT_OK(in.add_default_route(parse_ipv4("10.86.3.1").value()));
  ASSERT_OK(in.add_default_route(parse_ipv4("10.86.3.1").value()));
  ASSERT_OK(netlink_->delete_link(outside.index));
  EXPECT_EQ(in.link("eth0").error().code, ErrorCode::not_found);
}

TEST_F(NetworkTest, ErrorsNameTheLink) {
  auto error = netlink_->link("nothere").error();
  EXPECT_EQ(error.code, ErrorCode::not_found);
  EXPECT_NE(error.message.find("nothere"), std::string::npos);
  EXPECT_EQ(netlink_->create_bridge("a-name-that-is-too-long").error().code, ErrorCode::invalid);
}

class NftTest : public NetworkTest {
 protected:
  void SetUp() override {
    NetworkTest::SetUp();
    if (!netns_) return;
    Status opened = netns_->run_in([&]() -> Status {
      TUTTI_TRY(table_, NftTable::open({"tutti_test_node", "ttbr0", parse_prefix("10.86.3.0/24").value()}));
      return {};
    });
    ASSERT_OK(opened);
    auto built = table_->rebuild({});
    if (!built) GTEST_SKIP() << built.error().message;
  }
  std::unique_ptr<NftTable> table_;
};

TEST_F(NftTest, PortsComeAndGo) {
  PublishedPort web{false, 20001, parse_ipv4("10.86.3.2").value(), 80};
  PublishedPort dns{true, 20001, parse_ipv4("10.86.3.3").value(), 53};
  ASSERT_OK(table_->add({web, dns}));
  std::string rules = table_->list().value();
  EXPECT_NE(rules.find("20001 : 10.86.3.2 . 80"), std::string::npos) << rules;
  EXPECT_NE(rules.find("20001 : 10.86.3.3 . 53"), std::string::npos) << rules;
  // All or nothing: the first of these is free, the second is taken.
  PublishedPort other{false, 20002, parse_ipv4("10.86.3.4").value(), 80};
  PublishedPort thief{false, 20001, parse_ipv4("10.86.3.4").value(), 80};
  EXPECT_EQ(table_->add({other, thief}).error().code, ErrorCode::conflict);
  EXPECT_EQ(table_->list().value().find("20002"), std::string::npos);
  ASSERT_OK(table_->remove({web}));
  EXPECT_EQ(table_->remove({web}).error().code, ErrorCode::not_found);
  ASSERT_OK(table_->rebuild({other}));
  rules = table_->list().value();
  EXPECT_NE(rules.find("20002"), std::string::npos);
  EXPECT_EQ(rules.find("20001"), std::string::npos);
  ASSERT_OK(table_->remove_table());
  EXPECT_FALSE(table_->list().has_value());
  ASSERT_OK(table_->remove_table());
}

TEST_F(NftTest, NamesCannotCarryRules) {
  EXPECT_EQ(nft_name("my-pool; flush ruleset"), "my_pool__flush_ruleset");
  EXPECT_FALSE(NftTable::open({"a; flush ruleset", "b", {}}).has_value());
  EXPECT_FALSE(NftTable::open({"a", "b\" drop", {}}).has_value());
}

}  // namespace
}  // namespace tutti::sys
