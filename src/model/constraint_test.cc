#include "model/constraint.h"

#include <gmock/gmock.h>

namespace tutti {
namespace {

using ::testing::HasSubstr;

Node node() {
  Node n;
  n.name = "node-1";
  n.spec.labels["disk"] = "ssd";
  n.spec.tags = {"gpu", "fast"};
  auto inventory = std::make_shared<Inventory>();
  inventory->arch = "x86_64";
  inventory->kernel = "6.18.44";
  inventory->cores = 8;
  inventory->memory = {int64_t{16} << 30};
  inventory->drivers = {{"container", "1.8.1", true, ""}, {"vm", "8", false, "no kvm"}, {"fake", "", true, ""}};
  inventory->attributes["rack"] = "r7";
  n.inventory = inventory;
  return n;
}

bool holds(std::string_view text) {
  auto constraint = Constraint::parse(text);
  EXPECT_TRUE(constraint) << constraint.error().to_string();
  Node n = node();
  return constraint && constraint->matches([&](std::string_view key) { return node_attribute(n, key); });
}

TEST(Constraint, compares) {
  for (std::string_view yes : {"node.arch == x86_64",
                               "node.arch=x86_64",
                               "node.arch == \"x86_64\"",
                               "node.arch != arm64",
                               "node.cores >= 8",
                               "node.cores < 9",
                               "node.memory >= 16Gi",
                               "node.memory > 15.5Gi",
                               "node.name in node-2, node-1",
                               "node.name in [\"node-1\"]",
                               "node.kernel =~ ^6\\.",
                               "node.kernel regexp 18",
                               "node.kernel version >= 6.9, < 7",
                               "node.driver.container version 1.8.1",
                               "node.tags contains gpu",
                               "node.tag.fast == true",
                               "node.label.disk == ssd",
                               "node.attr.rack set",
                               "node.label.none unset",
                               "node.label.none != x",
                               "node.driver.fake set",
                               "node.driver.vm unset",
                               "node.pool == default"}) {
    EXPECT_TRUE(holds(yes)) << yes;
  }
  for (std::string_view no :
       {"node.arch == arm64", "node.arch != x86_64", "node.cores > 8", "node.memory < 16Gi", "node.name in a, b",
        "node.kernel =~ ^5", "node.kernel version < 6.2", "node.tags contains gp", "node.label.none == x",
        "node.label.none < 3", "node.label.disk < 3", "node.label.disk unset", "node.driver.vm set"}) {
    EXPECT_FALSE(holds(no)) << no;
  }
}

TEST(Constraint, one_text_for_every_way_of_writing_it) {
  EXPECT_EQ(Constraint::parse("  node.arch   ==x86_64 ")->to_string(), "node.arch == x86_64");
  EXPECT_EQ(Constraint::parse("node.name in [a,b]")->to_string(), "node.name in a, b");
  EXPECT_EQ(Constraint::parse("node.attr.x set")->to_string(), "node.attr.x set");
}

TEST(Constraint, refusals_say_what_was_expected) {
  auto refusal = [](std::string_view text) { return Constraint::parse(text).error().message; };
  EXPECT_THAT(refusal("node.arhc == x"), HasSubstr("did you mean node.arch?"));
  EXPECT_THAT(refusal("node.lable.x == x"), HasSubstr("did you mean node.label.?"));
  EXPECT_THAT(refusal("arch == x"), HasSubstr("no such attribute \"arch\""));
  EXPECT_THAT(refusal("node.arch x86_64"), HasSubstr("one of == != < >"));
  EXPECT_THAT(refusal("node.arch =="), HasSubstr("nothing after =="));
  EXPECT_THAT(refusal("node.cores > many"), HasSubstr("expected a number or a size"));
  EXPECT_THAT(refusal("node.kernel =~ ("), HasSubstr("not a regular expression"));
  EXPECT_THAT(refusal("node.kernel version new"), HasSubstr("not a range of versions"));
  EXPECT_THAT(refusal("node.name in a,,b"), HasSubstr("a word of the list is empty"));
  EXPECT_THAT(refusal("node.name set x"), HasSubstr("nothing stands after set"));
  EXPECT_THAT(refusal(""), HasSubstr("no such attribute"));
  EXPECT_THAT(refusal("node.name =~ " + std::string(129, 'a')), HasSubstr("longer than 128"));
}

TEST(Constraint, an_expression_cannot_hang_the_scheduler) {
  auto constraint = Constraint::parse("node.name =~ ^(a*)*b$");
  ASSERT_TRUE(constraint) << constraint.error().to_string();
  EXPECT_FALSE(constraint->matches([](std::string_view) { return std::optional(std::string(200, 'a')); }));
}

TEST(Constraint, versions) {
  EXPECT_LT(compare_versions("1.9", "1.10"), 0);
  EXPECT_EQ(compare_versions("v1.2", "1.2.0"), 0);
  EXPECT_LT(compare_versions("1.2.0-rc1", "1.2.0"), 0);
  EXPECT_LT(compare_versions("1.2.0-alpha", "1.2.0-beta"), 0);
  EXPECT_GT(compare_versions("6.18.44-amd64", "6.2"), 0);
  EXPECT_EQ(compare_versions("1.0+a", "1.0+b"), 0);
}

}  // namespace
}  // namespace tutti
