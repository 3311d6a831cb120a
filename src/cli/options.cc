#include "cli/options.h"

#include <algorithm>
#include <cctype>

#include "model/values.h"

namespace tutti::cli {

const std::vector<Option>& all_options() {
  using enum ValueKind;
  static const std::vector<Option> options = {
      {"context", 0, text, "NAME", "which pool ('tutti context list')", false, true},
      {"address", 0, text, "HOST:PORT", "of the pool's API, instead of the context's", false, true},
      {"token", 0, text, "TOKEN", "instead of the context's", false, true},
      {"project", 0, text, "NAME", "whose objects are meant", false, true},
      {"output", 'o', format, "FORMAT", "table, wide, json, yaml or name", false, true},
      {"quiet", 'q', flag, "", "says only what was asked for", false, true},
      {"verbose", 'v', flag, "", "says more", false, true},
      {"yes", 'y', flag, "", "does not ask back", false, true},
      {"wait", 0, flag, "", "until it is done (the default)", false, true},
      {"no-wait", 0, flag, "", "does not wait until it is done", false, true},
      {"timeout", 0, duration, "10m", "how long it waits at most", false, true},
      {"help", 'h', flag, "", "this text", false, true},
      {"watch", 'w', flag, "", "shows it again whenever something changes"},
      {"all", 'a', flag, "", "what is finished or hidden too"},
      {"follow", 'f', flag, "", "goes on with what is written next"},
      {"tail", 0, number, "N", "only the last N lines"},
      {"since", 0, since, "2m|TIME", "only what is younger"},
      {"timestamps", 0, flag, "", "each line with its time"},
      {"task", 0, text, "TASK", "which one of a group's tasks"},
      {"tty", 't', flag, "", "a terminal"},
      {"interactive", 'i', flag, "", "with our standard input"},
      {"detach", 'd', flag, "", "in the background: prints the instance's name"},
      {"rm", 0, flag, "", "removed when it has ended, by the pool, whatever becomes of this command"},
      {"env", 'e', text, "KEY[=VALUE]", "in its environment; without a value the one we have", true},
      {"publish", 'p', text, "[HOST:]PORT[/udp]", "a port of it on its node", true},
      {"volume", 'v', text, "SOURCE:PATH[:ro]", "a volume by name, or a folder of the node that the project allows",
       true},
      {"memory", 'm', memory, "256Mi", "its memory"},
      {"cpus", 0, cpu, "0.5", "its processors: 0.5, 500m, 2c"},
      {"workdir", 'w', text, "PATH", "where it starts"},
      {"user", 'u', text, "UID[:GID]|NAME", "who it runs as"},
      {"name", 0, text, "NAME", "what it is called"},
      {"driver", 0, text, "DRIVER", "container or process"},
      {"network", 0, text, "MODE", "bridge, host or none"},
      {"service", 0, flag, "", "a job that is kept running, instead of one that ends"},
      {"entrypoint", 0, text, "WORDS", "instead of the image's"},
      {"cmd", 0, text, "WORDS", "the image's command"},
      {"rootfs", 0, flag, "", "it is a root file system, not an image"},
      {"job", 0, text, "JOB", "only of this job"},
      {"node", 0, text, "NODE", "only on this node"},
      {"parent", 0, text, "JOB", "only what this periodic or parameterized job launched"},
      {"meta", 0, text, "KEY=VALUE", "a value for its tasks: ${meta.KEY}, $TUTTI_META_KEY", true},
      {"role", 0, text, "ROLE", "what joins with it: worker or scheduler"},
      {"schedulers", 0, flag, "", "who schedules, instead of the nodes"},
      {"uses", 0, integer, "N", "how often it can be used; -1: without limit"},
      {"ttl", 0, duration, "1h", "how long it can be used"},
      {"node-name", 0, text, "NAME", "only for a node of this name"},
      {"deadline", 0, duration, "5m", "then what is left is stopped"},
      {"fenced", 0, flag, "", "it surely runs nothing any more: what it held may start elsewhere at once"},
      {"apply", 0, flag, "", "does it, instead of only saying what it would do"},
      {"max-moves", 0, number, "50", "at most so many instances are moved"},
      {"max-parallel", 0, number, "2", "at most so many at a time"},
      {"node-pool", 0, text, "POOL", "only between nodes of this node pool"},
      {"include-batch", 0, flag, "", "batch work too: it stops, and starts over elsewhere"},
      {"policy", 0, text, "POLICY", "binpack, spread, roundrobin, greedy, epvm or fragmentation"},
      {"preemption", 0, flag, "",
       "its work may push less important work aside, and be pushed aside; --preemption=false ends that"},
      {"privileged", 0, flag, "", "its tasks may be privileged; --privileged=false ends that"},
      {"host-path", 0, text, "PATH", "a folder of the nodes that its tasks may have; all of them are named, '' is none",
       true},
      {"limit", 0, number, "N", "at most so many"},
      {"from", 0, text, "CURSOR", "go on behind it"},
      {"grace", 0, duration, "24h", "what is younger stays"},
      {"username", 0, text, "NAME", "at the other registry"},
      {"password-stdin", 0, flag, "", "the password comes on standard input"},
      {"authority", 0, text, "FILE", "the certificate of the pool's authority"},
      {"credential-file", 0, text, "FILE", "the credential; '-': standard input"}};
  return options;
}

std::string cpu_text(const std::string& text) {
  const bool bare = !text.empty() && text.find_first_not_of("0123456789.") == std::string::npos;
  return bare ? text + "c" : text;
}

std::string memory_text(const std::string& text) {
  if (text.size() < 2 || std::isdigit(static_cast<unsigned char>(text[text.size() - 2])) == 0) return text;
  switch (text.back()) {
    case 'k': return text.substr(0, text.size() - 1) + "Ki";
    case 'm': return text.substr(0, text.size() - 1) + "Mi";
    case 'g': return text.substr(0, text.size() - 1) + "Gi";
    default: return text;
  }
}

Result<std::string> since_text(const std::string& text, Time now) {
  if (const Result<Duration> back = parse_duration(text)) return format_time(Time{now.ns - back->ns});
  const Result<Time> at = parse_time(text);
  if (!at)
    return fail(ErrorCode::invalid,
                "'" + text + "' is neither a time (2026-01-31T12:00:00Z) nor how long ago (90s, 2h)");
  return format_time(*at);
}

Status check_value(const Option& option, const std::string& value) {
  const std::string name = "--" + std::string(option.name) + ": ";
  auto checked = [&](const auto& result) -> Status {
    if (result) return {};
    Error error = result.error();
    return tl::make_unexpected(std::move(error).in("--" + std::string(option.name)));
  };
  switch (option.kind) {
    case ValueKind::flag:
      if (value == "true" || value == "false") return {};
      return fail(ErrorCode::invalid, name + "takes no value but true or false, not '" + value + "'");
    case ValueKind::text: return {};
    case ValueKind::number:
    case ValueKind::integer: {
      const size_t sign = option.kind == ValueKind::integer && value.starts_with('-') ? 1 : 0;
      const std::string digits = value.substr(sign);
      const bool digits_only = !digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos;
      if (digits_only && digits.size() <= 9) return {};
      const bool below = option.kind == ValueKind::number && value.size() > 1 && value[0] == '-' &&
                         value.find_first_not_of("0123456789", 1) == std::string::npos;
      return fail(ErrorCode::invalid, name + "'" + value + "' is " +
                                          (below         ? "below 0"
                                           : digits_only ? "too large: at most 999999999"
                                                         : "not a number"));
    }
    case ValueKind::duration: return checked(parse_duration(value));
    case ValueKind::since: return checked(since_text(value, Time{}));
    case ValueKind::memory: return checked(parse_bytes(memory_text(value)));
    case ValueKind::cpu: return checked(parse_millicores(cpu_text(value)));
    case ValueKind::format: {
      for (const char* known : {"table", "wide", "json", "yaml", "name"}) {
        if (value == known) return {};
      }
      return fail(ErrorCode::invalid, "-o takes table, wide, json, yaml or name, not '" + value + "'");
    }
  }
  return {};
}

}  // namespace tutti::cli
