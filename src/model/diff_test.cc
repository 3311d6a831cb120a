#include "model/diff.h"

#include <gtest/gtest.h>

#include "model/test_pool.h"

namespace tutti {
namespace {

std::string text_of(const std::vector<FieldChange>& changes) {
  std::string out;
  for (const FieldChange& c : changes) {
    const char sign = c.kind == ChangeKind::added ? '+' : c.kind == ChangeKind::removed ? '-' : '~';
    out += sign + c.path + " " + c.before.text + " " + c.after.text + "\n";
  }
  return out;
}

TEST(Diff, TheSameSpecHasNone) {
  const JobSpec spec = TestPool::service("web", 3);
  EXPECT_TRUE(diff(spec, spec).empty());
}

TEST(Diff, FieldsAreNamedByPathAndElementsByName) {
  JobSpec before = TestPool::service("web", 3);
  before.tasks.push_back(before.tasks[0]);
  before.tasks[1].name = "db";
  before.tasks[1].env = {{"A", "1"}, {"B", "2"}};
  before.tasks[1].command = {"run", "fast"};
  JobSpec after = before;
  std::swap(after.tasks[0], after.tasks[1]);  // the order of named ones is no change
  after.tasks[0].env = {{"B", "3"}, {"C", "4"}};
  after.tasks[0].command = {"run"};
  after.tasks[1].resources.cpu.value = 250;
  after.tasks[1].ports.push_back({"http", 80, 0, Protocol::tcp});
  after.priority = 60;
  EXPECT_EQ(text_of(diff(before, after)),
            "~priority 50 60\n"
            "-tasks[db].command[1] \"fast\" null\n"
            "~tasks[db].env.B \"2\" \"3\"\n"
            "+tasks[db].env.C null \"4\"\n"
            "-tasks[db].env.A \"1\" null\n"
            "~tasks[web].resources.cpu 100 250\n"
            "+tasks[web].ports[http] null {\"name\":\"http\",\"container\":80,\"host\":0,\"protocol\":\"tcp\"}\n");
}

JobVersion version_of(const JobSpec& spec) {
  JobVersion version;
  version.spec = std::make_shared<const JobSpec>(spec);
  return version;
}
bool same(const JobVersion& a, const JobVersion& b) {
  return same_work(a, groups_of(*a.spec)[0], b, groups_of(*b.spec)[0]);
}

TEST(SameWork, WhatOnlyTheManagerReadsIsNoReasonToStartOver) {
  JobSpec spec = TestPool::service("web", 3);
  spec.tasks[0].image = "app:1";
  const JobVersion before = version_of(spec);
  JobSpec after = spec;
  after.tasks[0].count = 5;
  after.tasks[0].reschedule.attempts = 2;
  after.labels["a"] = "b";
  EXPECT_TRUE(same(before, version_of(after)));
  JobVersion other_digest = version_of(after);
  other_digest.images["app:1"] = "app@sha256:1";
  EXPECT_FALSE(same(before, other_digest));
  after.tasks[0].env["A"] = "1";
  EXPECT_FALSE(same(before, version_of(after)));
}

}  // namespace
}  // namespace tutti
