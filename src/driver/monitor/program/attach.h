#pragma once
// Who is attached to a task: copies of its output to each, its input to the first that comes.
//
// A client connects to attach.sock and gets one message: two bytes ('A', flags) with descriptors: [err][in]
//   flags & 1: a socket with the standard error comes first (no terminal)
//   flags & 2: what to write input to comes last: the terminal, or the pipe's only writer, so that closing it is the
//              task's end of input. Without it another client has it, or the task takes none
// Then standard output flows over the connection itself. A client that takes nothing for 200 ms is dropped.

#include <poll.h>
#include <stddef.h>

namespace monitor {

class Attach {
 public:
  static constexpr int kClientsMax = 8;
  bool listen_on(const char* path);
  int add_to_poll(pollfd* out) const;  // the listener, if there is one; returns how many it added
  void handle(const pollfd* polled, int count, int& input, int terminal);
  void output(int stream, const char* data, size_t size);

 private:
  struct Client {
    int out = -1;
    int err = -1;  // −1 with a terminal
  };
  void welcome(int fd, int& input, int terminal);
  static void drop(Client& client);

  int listener_ = -1;
  Client clients_[kClientsMax];
};

}  // namespace monitor
