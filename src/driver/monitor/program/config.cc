#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace monitor {

void List::add(const char* item) {
  items = static_cast<const char**>(realloc(static_cast<void*>(items), sizeof(char*) * static_cast<size_t>(count + 2)));
  if (items == nullptr) abort();
  items[count++] = item;
  items[count] = nullptr;
}

char* read_whole(int fd, uint64_t* size) {
  size_t room = 64 * 1024;
  size_t have = 0;
  char* data = static_cast<char*>(malloc(room));
  while (data != nullptr) {
    ssize_t n = read(fd, data + have, room - have - 1);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return nullptr;
    if (n == 0) break;
    have += static_cast<size_t>(n);
    if (have + 1 == room) data = static_cast<char*>(realloc(data, room *= 2));
  }
  if (data == nullptr) return nullptr;
  data[have] = '\0';
  *size = have;
  return data;
}

namespace {

struct TextKey {
  const char* name;
  const char* Config::* field;
};
struct NumberKey {
  const char* name;
  int64_t Config::* field;
};
struct FlagKey {
  const char* name;
  bool Config::* field;
};
struct ListKey {
  const char* name;
  List Config::* field;
};

constexpr TextKey kTexts[] = {{"netns", &Config::netns},
                              {"upper", &Config::upper},
                              {"work", &Config::work},
                              {"target", &Config::target},
                              {"kill_file", &Config::kill_file},
                              {"freeze_file", &Config::freeze_file},
                              {"thaw_word", &Config::thaw_word},
                              {"oom_file", &Config::oom_file},
                              {"cwd", &Config::cwd},
                              {"seccomp", &Config::seccomp},
                              {"log", &Config::log},
                              {"lease", &Config::lease}};
constexpr NumberKey kNumbers[] = {{"uid", &Config::uid},
                                  {"gid", &Config::gid},
                                  {"open_files", &Config::open_files},
                                  {"log_bytes", &Config::log_bytes},
                                  {"log_files", &Config::log_files},
                                  {"lease_grace_ns", &Config::lease_grace_ns},
                                  {"start_by_ns", &Config::start_by_ns},
                                  {"stop_signal", &Config::stop_signal},
                                  {"stop_grace_ns", &Config::stop_grace_ns},
                                  {"enter_pid", &Config::enter_pid}};
constexpr FlagKey kFlags[] = {{"process", &Config::process},
                              {"join", &Config::join},
                              {"pid_namespace", &Config::pid_namespace},
                              {"no_new_privileges", &Config::no_new_privileges},
                              {"tty", &Config::tty},
                              {"stdin_open", &Config::stdin_open}};
constexpr ListKey kLists[] = {{"lower", &Config::lower},   {"unmount", &Config::unmount}, {"bind", &Config::bind},
                              {"cgroup", &Config::cgroup}, {"argv", &Config::argv},       {"env", &Config::env},
                              {"groups", &Config::groups}, {"after", &Config::after}};

bool set(Config& config, const char* key, const char* value) {
  for (const TextKey& k : kTexts) {
    if (strcmp(k.name, key) == 0) return config.*k.field = value, true;
  }
  for (const NumberKey& k : kNumbers) {
    if (strcmp(k.name, key) == 0) return config.*k.field = strtoll(value, nullptr, 10), true;
  }
  for (const FlagKey& k : kFlags) {
    if (strcmp(k.name, key) == 0) return config.*k.field = value[0] == '1', true;
  }
  for (const ListKey& k : kLists) {
    if (strcmp(k.name, key) == 0) return (config.*k.field).add(value), true;
  }
  if (strcmp("capabilities", key) == 0) return config.capabilities = strtoull(value, nullptr, 16), true;
  return false;
}

}  // namespace

bool parse_config(char* data, uint64_t size, Config& config, const char** error) {
  for (uint64_t at = 0; at < size;) {
    char* record = data + at;
    at += strlen(record) + 1;
    char* equals = strchr(record, '=');
    if (equals == nullptr) return *error = "a record without '='", false;
    *equals = '\0';
    if (!set(config, record, equals + 1)) return *error = record, false;
  }
  if (config.argv.count == 0) return *error = "argv is missing", false;
  return true;
}

}  // namespace monitor
