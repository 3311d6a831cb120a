// Containers: how long from the request to running, one and many, and after a node was lost.
#include <csignal>

#include "app/bench/bench.h"
#include "sys/process.h"

namespace tutti::app::bench {
namespace {

std::string job_json(const std::string& name, int count) {
  return R"({"job":")" + name +
         R"(","tasks":[{"name":"main","image":"bench:1","command":["sleep","100000"],"stop_grace":"1s","count":)" +
         std::to_string(count) + R"(,"on_disconnect":"stop-after","resources":{"cpu":10,"memory":8388608}}]})";
}

Result<double> start_one(const Pool& pool, net::Client& client, const std::string& name) {
  RunningWatch watch(pool);
  const BootTime start = now();
  TUTTI_CHECK(pool.call(client, "POST", "/v1/jobs", job_json(name, 1)));
  TUTTI_TRY(const BootTime running, watch.wait(name, 1, seconds(30)));
  return static_cast<double>((running - start).ns) / 1e6;
}

}  // namespace

Result<std::vector<Figure>> bench_start(const Options& options) {
  TUTTI_TRY(auto pool, Pool::start(1));
  TUTTI_TRY(auto client, pool->client());
  TUTTI_TRY(auto crun, BareCrun::make());
  TUTTI_CHECK(start_one(*pool, *client, "warm"));  // the image is unpacked once
  std::vector<double> ours;
  std::vector<double> bare;
  for (int i = 0; i < (options.quick ? 5 : 60); ++i) {
    const std::string name = "start-" + std::to_string(i);
    TUTTI_TRY(const double ms, start_one(*pool, *client, name));
    TUTTI_TRY(const double peer_ms, crun->run_ms());
    ours.push_back(ms);
    bare.push_back(peer_ms);
    TUTTI_CHECK(pool->remove_job(*client, name));
    crun->clear();
  }
  std::vector<Figure> out;
  for (const auto& [name, p] : {std::pair{"p50", 0.5}, std::pair{"p99", 0.99}}) {
    Figure f = p < 0.9 ? below(std::string("start.") + name, quantile(ours, p), "ms", 30)
                       : plain(std::string("start.") + name, quantile(ours, p), "ms");
    f.peer = "crun run, no bridge";
    f.peer_value = quantile(bare, p);
    f.note = std::to_string(ours.size()) + " starts in turns";
    out.push_back(std::move(f));
  }
  out.push_back(below("start.ratio", out[0].value / *out[0].peer_value, "x", 2));
  return out;
}

Result<std::vector<Figure>> bench_many(const Options& options) {
  TUTTI_TRY(auto pool, Pool::start(1));
  TUTTI_TRY(auto client, pool->client());
  TUTTI_TRY(auto crun, BareCrun::make());
  TUTTI_CHECK(start_one(*pool, *client, "warm"));
  const int count = options.quick ? 10 : 100;
  std::vector<double> ours;
  std::vector<double> one_lane;
  std::vector<double> two_lanes;
  for (int round = 0; round < (options.quick ? 1 : 3); ++round) {
    const std::string name = "many-" + std::to_string(round);
    RunningWatch watch(*pool);
    const BootTime start = now();
    TUTTI_CHECK(pool->call(*client, "POST", "/v1/jobs", job_json(name, count)));
    TUTTI_TRY(const BootTime running, watch.wait(name, static_cast<size_t>(count), seconds(120)));
    ours.push_back(static_cast<double>((running - start).ns) / 1e9);
    TUTTI_CHECK(pool->remove_job(*client, name));
    for (auto [lanes, into] : {std::pair{1, &one_lane}, std::pair{2, &two_lanes}}) {
      TUTTI_TRY(const double ms, crun->run_many_ms(count, lanes));
      into->push_back(ms / 1e3);
      crun->clear();
    }
  }
  Figure f = below("many." + std::to_string(count), quantile(ours, 0.5), "s", 3);
  f.peer = "crun run, one after the other";
  f.peer_value = quantile(one_lane, 0.5);
  Figure two = plain("many.crun_two_at_a_time", quantile(two_lanes, 0.5), "s");
  f.note = "Docker Swarm is not beside it: no engine runs here";
  return std::vector<Figure>{f, two};
}

Result<std::vector<Figure>> bench_loss(const Options& options) {
  (void)options;  // once is what it takes
  TUTTI_TRY(auto pool, Pool::start(2));
  TUTTI_TRY(auto client, pool->client());
  RunningWatch watch(*pool);
  TUTTI_CHECK(pool->call(*client, "POST", "/v1/jobs", job_json("loss", 4)));
  TUTTI_CHECK(watch.wait("loss", 4, seconds(60)));
  const auto nodes = watch.by_node("loss");
  const std::string victim = nodes.begin()->first;  // "node-1" is "worker-1"
  const size_t there = nodes.begin()->second;
  const BootTime start = now();
  ::kill(pool->process("worker-" + victim.substr(victim.find('-') + 1)), SIGKILL);
  TUTTI_TRY(const BootTime again, watch.wait("loss", 4 + there, seconds(60)));
  Figure f = below("loss.work_runs_again", static_cast<double>((again - start).ns) / 1e9, "s", 10);
  f.note = std::to_string(there) + " instances of a worker killed with -9";
  return std::vector<Figure>{f};
}

}  // namespace tutti::app::bench
