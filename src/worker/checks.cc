#include "worker/checks.h"

#include <algorithm>
#include <cstdlib>

#include "net/probe.h"

namespace tutti::worker {

int32_t port_of(const HealthCheck& check, const TaskSpec& task, const std::vector<PortBinding>& bindings,
                bool own_network) {
  const auto port = std::ranges::find(task.ports, check.port, &PortSpec::name);
  if (port == task.ports.end()) return std::atoi(check.port.c_str());
  if (own_network) return port->container;
  for (const PortBinding& binding : bindings)
    if (binding.task == task.name && binding.name == check.port) return binding.host;
  return port->container;
}

void Checks::watch(CheckedRun run) {
  const auto key = std::pair(run.instance, run.task);
  unwatch(key.first, key.second);
  TaskHealth health(run.spec.health, run.before);
  const size_t count = health.size();
  auto watched = std::make_shared<Watched>(Watched{std::move(run), std::move(health), std::vector<bool>(count), false});
  watched_[key] = watched;
  begin_due(watched, true);
}

void Checks::unwatch(InstanceId instance, uint16_t task) {
  const auto at = watched_.find({instance, task});
  if (at == watched_.end()) return;
  at->second->over = true;
  watched_.erase(at);
}

// Those that are asked now and have not begun. What was taken over from an earlier process is not asked all at once.
void Checks::begin_due(const WatchedPtr& watched, bool first) {
  for (size_t i = 0; i < watched->health.size(); ++i) {
    if (watched->begun[i] || !watched->health.asks(i)) continue;
    watched->begun[i] = true;
    const HealthCheck& spec = watched->health.spec(i);
    const bool taken_over = first && watched->run.before != HealthState::starting;
    const Duration wait = taken_over
                              ? Duration{static_cast<int64_t>(random_.below(static_cast<uint64_t>(spec.interval.ns)))}
                              : spec.initial_delay;
    io_.after(wait, [this, watched, i] { ask(watched, i); });
  }
}

void Checks::ask(const WatchedPtr& watched, size_t check) {
  if (watched->over || !watched->health.asks(check)) return;
  auto done = [this, watched, check, asked = clock_.boot_now()](CheckResult result) {
    answered(watched, check, asked, std::move(result));
  };
  if (watched->health.spec(check).type == CheckType::exec) {
    ask_command(watched, check, std::move(done));
  } else {
    ask_network(watched, check, std::move(done));
  }
}

void Checks::answered(const WatchedPtr& watched, size_t check, BootTime asked, CheckResult result) {
  if (watched->over) return;
  if (auto change = watched->health.record(check, result)) {
    const bool restart = change->restart;
    if (restart) unwatch(watched->run.instance, watched->run.task);
    told_(watched->run, std::move(*change));
    if (watched->over) return;
  }
  begin_due(watched, false);
  const Duration taken = clock_.boot_now() - asked;
  const Duration wait = std::max(Duration{}, watched->health.spec(check).interval - taken);
  if (watched->health.asks(check)) io_.after(wait, [this, watched, check] { ask(watched, check); });
}

void Checks::ask_network(const WatchedPtr& watched, size_t check, std::function<void(CheckResult)> answered) {
  const HealthCheck& spec = watched->health.spec(check);
  const CheckedRun& run = watched->run;
  net::Probe probe;
  probe.kind = spec.type == CheckType::http   ? net::ProbeKind::http
               : spec.type == CheckType::grpc ? net::ProbeKind::grpc_health
                                              : net::ProbeKind::connect;
  const bool own_network = !run.address.empty();
  probe.to = {own_network ? run.address : "127.0.0.1",
              static_cast<uint16_t>(port_of(spec, run.spec, run.ports, own_network))};
  probe.timeout = spec.timeout;
  probe.method = spec.method;
  probe.target = spec.path;
  probe.headers.assign(spec.headers.begin(), spec.headers.end());
  probe.wants_body = [watched, check](int status) { return !is_expected(watched->health.spec(check), status); };
  probe.service = spec.service;
  io_.probe(std::move(probe), [watched, check, answered = std::move(answered)](Result<net::ProbeAnswer> answer) {
    if (!answer) return answered({false, answer.error().message});
    const HealthCheck& asked = watched->health.spec(check);
    const bool well = asked.type != CheckType::http || is_expected(asked, answer->status);
    answered(
        {well,
         well ? "" : "status " + std::to_string(answer->status) + (answer->body.empty() ? "" : ": " + answer->body)});
  });
}

void Checks::ask_command(const WatchedPtr& watched, size_t check, std::function<void(CheckResult)> answered) {
  const HealthCheck& spec = watched->health.spec(check);
  commands_.run({watched->run.driver, watched->run.run, spec.command, spec.timeout},
                [this, answered = std::move(answered)](CheckResult result) {
                  io_.post([answered, result = std::move(result)]() mutable { answered(std::move(result)); });
                });
}

}  // namespace tutti::worker
