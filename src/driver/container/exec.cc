#include "driver/container/exec.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>

#include "base/text.h"
#include "model/codec.h"
#include "sys/file.h"
#include "sys/process.h"

namespace tutti::driver {
namespace {

constexpr int kTerminalTimeoutMs = 30'000;

std::string user_text(const ContainerUser& user) {
  std::string out = std::to_string(user.uid) + ":" + std::to_string(user.gid);
  for (uint32_t group : user.groups) out += ":" + std::to_string(group);
  return out;
}

ContainerUser parse_user_text(const std::string& text) {
  ContainerUser out;
  std::vector<std::string> parts = split(text, ':');
  auto number = [&](size_t i) {
    return static_cast<uint32_t>(i < parts.size() ? strtoul(parts[i].c_str(), nullptr, 10) : 0);
  };
  out.uid = number(0);
  out.gid = number(1);
  for (size_t i = 2; i < parts.size(); ++i) out.groups.push_back(number(i));
  return out;
}

}  // namespace

Status save_exec_base(const std::string& run_dir, const ExecBase& base) {
  std::string out;
  auto add = [&](std::string_view key, const std::string& value) {
    out.append(key).append("=").append(value).push_back('\0');
  };
  for (const std::string& pair : base.env) add("env", pair);
  for (const std::string& dir : base.lower_dirs) add("lower", dir);
  add("workdir", base.workdir);
  add("user", user_text(base.user));
  return sys::write_file_atomic(run_dir + "/exec.base", out, {.mode = 0600});
}

Result<ExecBase> load_exec_base(const std::string& run_dir) {
  TUTTI_TRY(const std::string text, sys::read_file(run_dir + "/exec.base"));
  ExecBase out;
  for (const std::string& record : split(text, '\0')) {
    const size_t at = record.find('=');
    if (at == std::string::npos) continue;
    const std::string key = record.substr(0, at);
    std::string value = record.substr(at + 1);
    if (key == "env")
      out.env.push_back(std::move(value));
    else if (key == "lower")
      out.lower_dirs.push_back(std::move(value));
    else if (key == "workdir")
      out.workdir = std::move(value);
    else if (key == "user")
      out.user = parse_user_text(value);
  }
  return out;
}

Result<std::string> exec_process_json(const ExecBase& base, const TaskSpec& task, const ExecRequest& request) {
  ContainerUser user = base.user;
  if (!request.user.empty()) {
    TUTTI_TRY(user, resolve_user(request.user, base.lower_dirs));
  }
  std::map<std::string, std::string> env;
  for (const std::string& pair : base.env) {
    const size_t at = pair.find('=');
    if (at != std::string::npos) env[pair.substr(0, at)] = pair.substr(at + 1);
  }
  if (request.tty) env.emplace("TERM", "xterm");
  for (const auto& [key, value] : request.env) env[key] = value;
  std::vector<std::string> pairs;
  for (const auto& [key, value] : env) pairs.push_back(key + "=" + value);
  std::string out = process_json(task, request.command, pairs, request.workdir.empty() ? base.workdir : request.workdir,
                                 user, request.tty);
  if (request.tty) {
    out.pop_back();
    out += ",\"consoleSize\":{\"height\":" + std::to_string(request.rows) +
           ",\"width\":" + std::to_string(request.columns) + "}}";
  }
  return out;
}

Result<sys::UniqueFd> listen_for_terminal(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return fail(ErrorCode::too_large, "the path of a socket has at most 107 bytes: " + path);
  memcpy(address.sun_path, path.data(), path.size());
  sys::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  unlink(path.c_str());
  if (!fd || bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(fd.get(), 1) != 0) {
    return fail_errno("listen on " + path, errno);
  }
  return fd;
}

Result<sys::UniqueFd> receive_terminal(int listener, int pid) {
  TUTTI_TRY(sys::UniqueFd child, sys::pidfd_open(pid));
  pollfd watched[2] = {{listener, POLLIN, 0}, {child.get(), POLLIN, 0}};
  int ready = 0;
  do ready = poll(watched, 2, kTerminalTimeoutMs);
  while (ready < 0 && errno == EINTR);
  if (watched[0].revents == 0)
    return fail(ready == 0 ? ErrorCode::timeout : ErrorCode::unprocessable, "the runtime made no terminal");
  sys::UniqueFd connection(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  char data[4096];
  iovec part{data, sizeof data};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (recvmsg(connection.get(), &message, MSG_CMSG_CLOEXEC) < 0) return fail_errno("receive the terminal", errno);
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS)
    return fail(ErrorCode::internal, "the runtime sent no terminal");
  int master = -1;
  memcpy(&master, CMSG_DATA(header), sizeof master);
  return sys::UniqueFd(master);
}

}  // namespace tutti::driver
