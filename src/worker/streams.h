#pragma once
// Streams: logs, exec, attach, copies, signals: each on a WebSocket of its own that the worker opens when asked.
//
// Owner: Worker. A stream has a thread of its own while it lasts (there are few); at most kStreamsMax. Frames are those
// of model/session.h: a byte of channel, then bytes; the last frame of the worker is a StreamControl.

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "net/http.h"
#include "worker/executor.h"

namespace tutti::worker {

inline constexpr size_t kStreamsMax = 256;

// What a stream is about, looked up on the I/O thread when it was asked for.
struct StreamTarget {
  Assignment assignment;
  SpecMessage spec;
  TaskSpec task;
  TaskStatus status;
};

class Streams {
 public:
  // `is_over`: whether the task's instance will say nothing more (follow ends then). Any thread.
  Streams(Executor& executor, std::function<bool(InstanceId, const std::string& task)> is_over)
      : executor_(executor), is_over_(std::move(is_over)) {}
  ~Streams();

  // Serves the request on a socket that is open; takes it over. `target` is empty with an error to be told.
  void serve(std::shared_ptr<net::WebSocket> socket, StreamRequest request, Result<StreamTarget> target);

 private:
  struct Stream;
  void reap();

  Executor& executor_;
  std::function<bool(InstanceId, const std::string&)> is_over_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Stream>> streams_;
};

}  // namespace tutti::worker
