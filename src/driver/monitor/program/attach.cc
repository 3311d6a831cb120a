#include "attach.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace monitor {
namespace {

constexpr int kPatienceMs = 200;

bool send_patiently(int fd, const char* data, size_t size) {
  while (size > 0) {
    ssize_t n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      data += n;
      size -= static_cast<size_t>(n);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return false;
    pollfd wait = {fd, POLLOUT, 0};
    if (poll(&wait, 1, kPatienceMs) <= 0) return false;
  }
  return true;
}

}  // namespace

bool Attach::listen_on(const char* path) {
  listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  unlink(path);
  return listener_ >= 0 && bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
         chmod(path, 0600) == 0 && listen(listener_, kClientsMax) == 0;
}

int Attach::add_to_poll(pollfd* out) const {
  if (listener_ < 0) return 0;
  *out = {listener_, POLLIN, 0};
  return 1;
}

void Attach::drop(Client& client) {
  if (client.out >= 0) close(client.out);
  if (client.err >= 0) close(client.err);
  client = Client();
}

void Attach::handle(const pollfd* polled, int count, int& input, int terminal) {
  if (count == 0 || polled[0].revents == 0) return;
  int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd >= 0) welcome(fd, input, terminal);
}

void Attach::welcome(int fd, int& input, int terminal) {
  Client* slot = nullptr;
  for (Client& client : clients_) {
    char byte;
    // A client that has gone is noticed here too: a quiet task would never tell.
    if (client.out >= 0 && recv(client.out, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0) drop(client);
    if (client.out < 0 && slot == nullptr) slot = &client;
  }
  int errors[2] = {-1, -1};
  if (slot == nullptr || (terminal < 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, errors) != 0)) {
    close(fd);
    return;
  }
  int given[2];
  int count = 0;
  char greeting[2] = {'A', 0};
  if (terminal < 0) {
    given[count++] = errors[1];
    greeting[1] |= 1;
  }
  int writer = terminal >= 0 ? terminal : input;
  if (writer >= 0) {
    given[count++] = writer;
    greeting[1] |= 2;
  }
  iovec part = {greeting, 2};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof given)] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(static_cast<size_t>(count) * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(static_cast<size_t>(count) * sizeof(int));
    memcpy(CMSG_DATA(header), given, static_cast<size_t>(count) * sizeof(int));
  }
  bool sent = sendmsg(fd, &message, MSG_NOSIGNAL) == 2;
  if (errors[1] >= 0) close(errors[1]);
  *slot = Client{fd, errors[0]};
  if (!sent) return drop(*slot);
  if (terminal < 0 && input >= 0) {  // given away: the client's close is the task's end of input
    close(input);
    input = -1;
  }
}

void Attach::output(int stream, const char* data, size_t size) {
  for (Client& client : clients_) {
    if (client.out < 0) continue;
    int fd = stream == 2 && client.err >= 0 ? client.err : client.out;
    if (!send_patiently(fd, data, size)) drop(client);
  }
}

}  // namespace monitor
