// Instances: show, operate, explain, and the streams that their workers open.
#include <algorithm>
#include <boost/describe/enum_to_string.hpp>

#include "base/text.h"
#include "manager/api/hub.h"
#include "manager/api/list.h"
#include "manager/api/requests.h"
#include "manager/api/routes.h"
#include "manager/api/views.h"
#include "scheduler/scheduler.h"

namespace tutti::manager {
namespace {

constexpr size_t kStreamPendingBytes = 1u << 20;

std::string control_message(const Error& error) {
  StreamControl control;
  control.error = error.to_string();
  return std::string(1, '\3') + to_json(control);
}

// Bytes of one side go to the other; a slow side holds the fast one back. `right` lives as long as the way does.
void pump(const std::shared_ptr<net::WebSocket>& from, const std::shared_ptr<net::WebSocket>& to,
          const std::shared_ptr<void>& right) {
  net::WebSocket::Callbacks callbacks;
  callbacks.message = [from, to](std::string message, bool binary) {
    if (!to->send(std::move(message), binary)) to->close("too far behind");
    if (to->pending_bytes() > kStreamPendingBytes / 2) from->pause_reading(true);
  };
  callbacks.closed = [to, right](const std::string& reason) { to->close(reason); };
  callbacks.drained = [to] { to->pause_reading(false); };  // what we were sending has gone: the other side may read on
  from->start(std::move(callbacks));
}

std::string frame(char channel, std::string_view bytes) {
  std::string out(1, channel);
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(bytes.size() >> shift & 0xff);
  return out.append(bytes);
}

void open_duplex(CallPtr call, InstanceId instance, StreamRequest request) {
  call->responder->websocket(
      [call, instance, request = std::move(request)](Result<std::shared_ptr<net::WebSocket>> client) {
        if (!client) return;
        call->services.open_stream(
            instance, request,
            [&hub = call->hub, token = call->identity.token,
             client = *client](Result<std::shared_ptr<net::WebSocket>> worker) {
              if (!worker) {
                client->start({[](std::string, bool) {}, [](const std::string&) {}, [] {}});
                client->send(control_message(worker.error()), true);
                return client->close(worker.error().message);
              }
              const auto right = hub.while_works(token, [near = std::weak_ptr(client), far = std::weak_ptr(*worker)] {
                if (auto one = near.lock())
                  one->send(control_message(token_ended()), true), one->close("the token has ended");
                if (auto one = far.lock()) one->close("the client's token has ended");
              });
              pump(client, *worker, right);
              pump(*worker, client, right);
            });
      },
      kStreamPendingBytes);
}

std::optional<StreamRequest> exec_request(const Call& call, StreamKind kind) {
  StreamQuery query;
  if (const std::string text = call.query("request"); !text.empty()) {
    Result<StreamQuery> parsed = from_json<StreamQuery>(text, {.what = "request"});
    if (!parsed) {
      answer_error(call, parsed.error());
      return std::nullopt;
    }
    query = std::move(*parsed);
  }
  if (kind == StreamKind::exec && query.command.empty()) {
    answer_error(call,
                 Error{ErrorCode::invalid, "exec needs a command", {{"request.command", "is empty", "[\"sh\"]"}}, 0});
    return std::nullopt;
  }
  StreamRequest out;
  out.kind = kind;
  out.task = query.task;
  out.command = query.command;
  out.env = query.env;
  out.user = query.user;
  out.workdir = query.workdir;
  out.tty = query.tty;
  out.stdin_open = query.stdin_open;
  out.replay = query.replay;
  out.columns = query.columns;
  out.rows = query.rows;
  return out;
}

// Answers with what the worker sends until it closes. `convert` turns a message into bytes of the body.
void open_body(CallPtr call, InstanceId instance, StreamRequest request, std::string content_type,
               std::function<std::string(std::string)> convert) {
  call->services.open_stream(
      instance, std::move(request), [call, content_type, convert](Result<std::shared_ptr<net::WebSocket>> worker) {
        if (!worker) return answer_error(*call, worker.error());
        net::Response head;
        head.content_type = content_type;
        head.headers = {{"Cache-Control", "no-store"}, {"X-Request-Id", call->request_id}};
        auto writer = call->responder->stream(std::move(head), 16u << 20);
        auto socket = *worker;
        writer->on_close([socket] { socket->close("the client went away"); });
        const auto right = call->hub.while_works(call->identity.token,
                                                 [convert, near = std::weak_ptr(writer), far = std::weak_ptr(socket)] {
                                                   if (auto one = near.lock())
                                                     one->write(convert(control_message(token_ended()))), one->finish();
                                                   if (auto one = far.lock())
                                                     one->close("the client's token has ended");
                                                 });
        socket->start({[writer, convert, socket, right](std::string message, bool) {
                         std::string bytes = convert(std::move(message));
                         if (!bytes.empty() && !writer->write(std::move(bytes)))
                           socket->close("the client is too far behind");
                       },
                       [writer](const std::string&) { writer->finish(); }, [] {}});
      });
}

std::optional<state::InstanceVerb> verb_of(const std::string& word) {
  using enum state::InstanceVerb;
  if (word == "start") return start;
  if (word == "stop") return stop;
  if (word == "restart") return restart;
  if (word == "pause") return pause;
  if (word == "unpause") return unpause;
  if (word == "suspend") return suspend;
  if (word == "resume") return resume;
  return std::nullopt;
}

}  // namespace

void list_instances(CallPtr call) {
  if (call->flag("watch")) return watch_table(call, TableId::instance);
  const Snapshot& s = *call->state;
  const Project* project = nullptr;
  if (!call->query("project").empty() && (project = project_of(*call)) == nullptr) return;
  const Job* job = nullptr;
  if (!call->query("job").empty() && (job = find_job(*call, call->query("job"))) == nullptr) return;
  const Node* node = nullptr;
  if (!call->query("node").empty() && (node = find_node(*call, call->query("node"))) == nullptr) return;
  const bool all = call->flag("all");
  const bool live = call->flag("live");
  const bool summary = call->query("fields") != "*";
  const auto keep = [call, project, job, node, all, live](const Instance& i) {
    const Job* owner = call->state->jobs.find(i.job.value);
    const bool over = i.presence == Presence::given_up || i.desired == Desired::removed;
    return owner != nullptr && sees(call->identity, owner->project, *call->state) &&
           (project == nullptr || owner->project == project->id) && (job == nullptr || i.job == job->id) &&
           (node == nullptr || i.node == node->id) && (all || !(over && i.finished)) && !(live && i.finished);
  };
  const auto show = [call, summary](const Instance& i) { return render(*call->state, i, summary); };
  // Of one job, or what lives on one node: not by looking at every instance of the pool.
  if (job == nullptr && !(node != nullptr && live)) return answer_list(call, s.instances, keep, show);
  const IdSet* ids = job != nullptr ? s.instances_by_job.find(job->id.value) : s.instances_by_node.find(node->id.value);
  answer_list(
      call, ids != nullptr ? *ids : IdSet{},
      [call, keep](uint64_t id) { return keep(*call->state->instances.find(id)); },
      [call, show](uint64_t id) { return show(*call->state->instances.find(id)); });
}

void get_instance(CallPtr call) {
  if (const Instance* i = find_instance(*call, call->param("instance")))
    answer_json(*call, 200, render(*call->state, *i));
}

void operate_instance(CallPtr call) {
  const Instance* i = find_instance(*call, call->param("instance"));
  if (i == nullptr) return;
  auto verb = verb_of(call->param("verb"));
  if (!verb) {
    return answer_error(*call, Error{ErrorCode::not_found,
                                     "an instance has no verb '" + call->param("verb") + "'",
                                     {{"verb", "unknown", "start, stop, restart, pause, unpause, suspend, resume"}},
                                     0});
  }
  commit_operation(call, state::OperateInstance{i->id, *verb});
}

void delete_instance(CallPtr call) {
  const Instance* i = find_instance(*call, call->param("instance"));
  if (i != nullptr) commit_operation(call, state::OperateInstance{i->id, state::InstanceVerb::delete_});
}

namespace {

// The first instance of the job that waits, else the first that lives, else the newest; of the group only, where one is
// named.
const Instance* most_telling(const Snapshot& s, const Job& job, const std::string& group) {
  const Instance* found = nullptr;
  const auto rank = [&](const Instance& i) {
    return i.finished ? 0 : s.pending.contains(i.id.value) || is_terminal(i.state) ? 2 : 1;
  };
  if (const IdSet* ids = s.instances_by_job.find(job.id.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance* i = s.instances.find(id);
      if (i == nullptr || (!group.empty() && s.group_of(*i).name != group)) return;
      if (found == nullptr || rank(*i) > rank(*found) || (rank(*i) == 0 && rank(*found) == 0)) found = i;
    });
  }
  return found;
}

std::string launches_of(const Snapshot& s, const Job& job) {
  const JobStatus status = job_status(s, job, false);
  std::string out = "launches jobs, " + std::to_string(status.children_live) + " of them not ended";
  if (job.stopped) return out + "; stopped";
  return out +
         (status.next_launch ? "; next at " + format_time(status.next_launch) : "; 'tutti job dispatch' launches one");
}

Explanation of_job_without_instances(const Snapshot& s, const Job& job) {
  const JobVersion* newest = s.version_of(job.id, static_cast<uint32_t>(job.version));
  Explanation out;
  out.name = job.name;
  out.state = newest != nullptr && newest->state == VersionState::failed      ? "version failed: " + newest->error
              : newest != nullptr && newest->state == VersionState::resolving ? "waits for its images"
              : job.stopped                                                   ? "stopped by its user"
              : !job.reason.empty()                                           ? job.reason
              : newest != nullptr && is_parent(*newest->spec)                 ? launches_of(s, job)
                                                                              : "has no instances";
  return out;
}

// "web", or "shop-web": a group of a job of the project.
bool find_group(const Snapshot& s, ProjectId project, const std::string& text, const Job*& job, std::string& group) {
  s.jobs.for_each([&](uint64_t, const Job& each) {
    const JobVersion* version =
        each.project == project ? s.version_of(each.id, static_cast<uint32_t>(each.version)) : nullptr;
    if (version == nullptr) return true;
    for (const GroupView& view : groups_of(*version->spec)) {
      if (text == view.name || text == each.name + "-" + view.name) job = &each, group = view.name;
    }
    return job == nullptr;
  });
  return job != nullptr;
}

Explanation of_node(const Node& node) {
  Explanation out;
  out.name = out.node = node.name;
  out.state = "node, " + std::string(boost::describe::enum_to_string(node.health, "")) +
              (node.health_reason.empty() ? "" : " (" + node.health_reason + ")") + ", " +
              boost::describe::enum_to_string(node.spec.eligibility, "");
  return out;
}

Error nothing_of_that_name(const Snapshot& s, const Identity& identity, const std::string& text) {
  std::vector<std::string> names;
  s.jobs.for_each([&](uint64_t, const Job& job) {
    if (sees(identity, job.project, s)) names.push_back(job.name);
  });
  s.instances.for_each([&](uint64_t, const Instance& i) {
    const Job* job = s.jobs.find(i.job.value);
    if (job != nullptr && sees(identity, job->project, s)) names.push_back(s.name_of(i));
    return names.size() < kNamesComparedMax;
  });
  s.nodes.for_each([&](uint64_t, const Node& node) { names.push_back(node.name); });
  const std::string_view nearest = nearest_word(text, {names.begin(), names.end()});
  return {ErrorCode::not_found,
          "nothing is called '" + text + "': neither an instance nor a job, a task or a node" +
              (nearest.empty() ? "" : ": did you mean '" + std::string(nearest) + "'?"),
          {},
          0};
}

}  // namespace

void explain_instance(CallPtr call) {
  const std::string& text = call->param("instance");
  const Project* project = project_of(*call);
  if (project == nullptr) return;
  const Snapshot& s = *call->state;
  auto explain = [&](const Instance& i, const std::string& job_waits = {}) {
    compute(call, [call, id = i.id, job_waits] {
      Explanation out = scheduler::explain_fully(*call->state, id, call->services.clock().now());
      if (!job_waits.empty()) out.remedies.push_back(job_waits);
      answer_json(*call, 200, to_json(out));
    });
  };
  const Job* job = s.job_by_name(project->id, text);
  std::string group;
  if (job == nullptr) {
    if (const Instance* i = seek_instance(*call, text)) return explain(*i);
    if (!find_group(s, project->id, text, job, group)) {
      if (const Node* node = s.node_by_name(text)) return answer_json(*call, 200, to_json(of_node(*node)));
      return answer_error(*call, nothing_of_that_name(s, call->identity, text));
    }
  }
  if (const Instance* found = most_telling(s, *job, group)) return explain(*found, job->reason);
  answer_json(*call, 200, to_json(of_job_without_instances(s, *job)));
}

void instance_logs(CallPtr call) {
  const Instance* i = find_instance(*call, call->param("instance"));
  if (i == nullptr) return;
  StreamRequest request;
  request.kind = StreamKind::logs;
  request.task = call->query("task");
  request.follow = call->flag("follow");
  if (const std::string tail = call->query("tail"); !tail.empty()) request.tail = std::atoll(tail.c_str());
  if (const std::string since = call->query("since"); !since.empty()) {
    Result<Time> time = parse_time(since);
    if (!time) return answer_error(*call, time.error());
    request.since = *time;
  }
  request.timestamps = call->flag("timestamps");
  request.out = call->query("stdout").empty() || call->flag("stdout");
  request.err = call->query("stderr").empty() || call->flag("stderr");
  open_body(call, i->id, std::move(request), "application/vnd.tutti.stream", [](std::string message) {
    return message.empty() ? std::string() : frame(message[0], std::string_view(message).substr(1));
  });
}

void instance_exec(CallPtr call) {
  const Instance* i = find_instance(*call, call->param("instance"));
  if (i == nullptr) return;
  if (auto request = exec_request(*call, StreamKind::exec)) open_duplex(call, i->id, std::move(*request));
}

void instance_attach(CallPtr call) {
  const Instance* i = find_instance(*call, call->param("instance"));
  if (i == nullptr) return;
  if (auto request = exec_request(*call, StreamKind::attach)) open_duplex(call, i->id, std::move(*request));
}

void instance_signal(CallPtr call) {
  const Instance* i = find_instance(*call, call->param("instance"));
  if (i == nullptr) return;
  auto body = body_of<SignalRequest>(*call);
  if (!body) return;
  StreamRequest request;
  request.kind = StreamKind::signal;
  request.task = body->task;
  request.signal = body->signal;
  call->services.open_stream(i->id, std::move(request), [call](Result<std::shared_ptr<net::WebSocket>> worker) {
    if (!worker) return answer_error(*call, worker.error());
    auto answered = std::make_shared<bool>(false);
    // The callbacks hold the socket: the last reference that is dropped closes it.
    (*worker)->start({[call, answered, socket = *worker](std::string message, bool) {
                        if (std::exchange(*answered, true) || message.empty()) return;
                        auto control = from_json<StreamControl>(message.substr(1), {.allow_unknown = true});
                        if (control && !control->error.empty())
                          return answer_error(*call, Error{ErrorCode::unprocessable, control->error, {}, 0});
                        answer_json(*call, 200, "{}");
                      },
                      [call, answered](const std::string& reason) {
                        if (!std::exchange(*answered, true))
                          answer_error(*call,
                                       Error{ErrorCode::unavailable, "the node ended the stream: " + reason, {}, 0});
                      },
                      [] {}});
  });
}

void instance_get_files(CallPtr call) {
  const Instance* i = find_instance(*call, call->param("instance"));
  if (i == nullptr) return;
  StreamRequest request;
  request.kind = StreamKind::copy_out;
  request.task = call->query("task");
  request.path = call->query("path");
  if (request.path.empty())
    return answer_error(*call,
                        Error{ErrorCode::invalid, "say which path", {{"path", "is missing", "?path=/etc/hosts"}}, 0});
  open_body(call, i->id, std::move(request), "application/vnd.tutti.stream", [](std::string message) {
    return message.empty() ? std::string() : frame(message[0], std::string_view(message).substr(1));
  });
}

namespace {

// The body goes to the worker as stdin frames, piece by piece.
struct CopyIn {
  CallPtr call;
  std::shared_ptr<net::WebSocket> worker;
  std::shared_ptr<void> right;  // while the client's token works
  std::atomic<bool> over{false};

  static void next(const std::shared_ptr<CopyIn>& self) {
    self->call->responder->body()->read([self](Result<std::string> piece) {
      if (!piece) {
        self->over = true;
        return self->worker->close("the client went away");
      }
      const bool end = piece->empty();
      if (!self->worker->send(std::string(1, '\0') + *piece, true)) {
        if (!self->over.exchange(true))
          answer_error(*self->call,
                       Error{ErrorCode::unavailable, "the node does not take the files fast enough", {}, 0});
        return self->worker->close("too far behind");
      }
      if (!end) next(self);
    });
  }
};

}  // namespace

void instance_put_files(CallPtr call) {
  const Instance* i = find_instance(*call, call->param("instance"));
  if (i == nullptr) return;
  StreamRequest request;
  request.kind = StreamKind::copy_in;
  request.task = call->query("task");
  request.path = call->query("path");
  if (request.path.empty())
    return answer_error(*call, Error{ErrorCode::invalid, "say which path", {{"path", "is missing", "?path=/tmp"}}, 0});
  call->services.open_stream(i->id, std::move(request), [call](Result<std::shared_ptr<net::WebSocket>> worker) {
    if (!worker) return answer_error(*call, worker.error());
    auto copy = std::make_shared<CopyIn>();
    copy->call = call;
    copy->worker = *worker;
    copy->right = call->hub.while_works(call->identity.token, [weak = std::weak_ptr(copy)] {
      auto one = weak.lock();
      if (!one) return;
      if (!one->over.exchange(true)) answer_error(*one->call, token_ended());
      one->worker->close("the client's token has ended");
    });
    copy->worker->start({[copy](std::string message, bool) {
                           if (copy->over.exchange(true) || message.empty()) return;
                           auto control = from_json<StreamControl>(message.substr(1), {.allow_unknown = true});
                           if (control && !control->error.empty())
                             return answer_error(*copy->call, Error{ErrorCode::unprocessable, control->error, {}, 0});
                           answer_json(*copy->call, 200, "{}");
                         },
                         [copy](const std::string& reason) {
                           if (!copy->over.exchange(true))
                             answer_error(*copy->call,
                                          Error{ErrorCode::unavailable, "the node ended the stream: " + reason, {}, 0});
                         },
                         [] {}});
    CopyIn::next(copy);
  });
}

}  // namespace tutti::manager
