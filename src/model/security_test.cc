#include "model/security.h"

#include <gtest/gtest.h>

namespace tutti {
namespace {

TaskSpec task(const std::string& driver) {
  TaskSpec out;
  out.name = "a";
  out.driver = driver;
  out.command = {"true"};
  return out;
}
std::string first(const TaskSpec& t) {
  const auto found = needs_consent(t, "tasks[0]");
  return found.empty() ? "" : found.front().path;
}

TEST(Security, an_ordinary_task_needs_no_consent) {
  EXPECT_EQ(first(task("container")), "");
  EXPECT_EQ(first(task("process")), "");
  TaskSpec t = task("container");
  t.security.cap_drop = {"ALL"};
  t.security.cap_add = {"CHOWN", "CAP_NET_BIND_SERVICE"};
  t.user = "root";
  t.security.no_new_privileges = false;  // a container's set-user-id programs are its own
  EXPECT_EQ(first(t), "");
}

TEST(Security, whatever_leads_to_the_node_needs_it) {
  TaskSpec t = task("container");
  t.security.privileged = true;
  EXPECT_EQ(first(t), "tasks[0].security.privileged");
  for (const char* name : {"SYS_ADMIN", "CAP_SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "DAC_READ_SEARCH", "NET_ADMIN",
                           "BPF", "ALL", "NO_SUCH"}) {
    TaskSpec with = task("container");
    with.security.cap_add = {"CHOWN", name};
    EXPECT_EQ(first(with), "tasks[0].security.cap_add[1]") << name;
  }
}

TEST(Security, a_process_is_no_account_of_the_node) {
  for (const char* user : {"root", "0", "00", "0:1000", "root:nogroup", "www-data", "nobody2"}) {
    TaskSpec t = task("process");
    t.user = user;
    EXPECT_EQ(first(t), "tasks[0].user") << user;
    t.security.privileged = true;  // then that is what needs the consent
    EXPECT_EQ(first(t), "tasks[0].security.privileged") << user;
  }
  for (const char* user : {"", "nobody", "70000", "70000:70000"}) {
    TaskSpec t = task("process");
    t.user = user;
    EXPECT_EQ(first(t), "") << user;
  }
  TaskSpec t = task("process");
  t.security.no_new_privileges = false;
  EXPECT_EQ(first(t), "tasks[0].security.no_new_privileges");
}

TEST(Security, names_stand_at_their_numbers) {
  EXPECT_EQ(capability_names()[12], "NET_ADMIN");
  EXPECT_EQ(capability_names()[21], "SYS_ADMIN");
  EXPECT_EQ(capability_names()[31], "SETFCAP");
  EXPECT_EQ(capability_names()[39], "BPF");
  EXPECT_EQ(plain_capability("cap_net_raw"), "NET_RAW");
}

TEST(Security, accounts_of_jobs_are_no_real_ones) {
  EXPECT_NE(own_account_of(1), own_account_of(2));
  EXPECT_GE(own_account_of(~uint64_t{0}), 1'879'048'192u);
  EXPECT_LT(own_account_of(~uint64_t{0}), 2'147'483'648u);
}

}  // namespace
}  // namespace tutti
