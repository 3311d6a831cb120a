#include "worker/health.h"

#include <algorithm>

#include "base/limits.h"
#include "base/printable.h"
#include "model/codec_impl.h"

namespace tutti::worker {
namespace {

// One line of it, within the limit, never in the middle of a letter.
std::string one_line(std::string_view said) {
  std::string text = printable(said, ' ');
  size_t most = limits::kCheckOutputBytesMax;
  if (text.size() > most) {
    while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
    text.resize(most);
  }
  return text;
}

}  // namespace

TaskHealth::TaskHealth(std::vector<HealthCheck> checks, HealthState before)
    : state_(before == HealthState::none ? HealthState::starting : before) {
  for (HealthCheck& spec : checks) {
    Check check;
    const bool passed =
        state_ == HealthState::healthy || (spec.kind == CheckKind::startup && state_ == HealthState::unhealthy);
    check.verdict = passed ? Verdict::passes : Verdict::open;
    check.spec = std::move(spec);
    checks_.push_back(std::move(check));
  }
}

bool TaskHealth::started() const {
  return std::ranges::all_of(checks_, [](const Check& check) {
    return check.spec.kind != CheckKind::startup || check.verdict == Verdict::passes;
  });
}

bool TaskHealth::asks(size_t check) const {
  const Check& one = checks_.at(check);
  return one.spec.kind == CheckKind::startup ? one.verdict != Verdict::passes : started();
}

std::optional<HealthChange> TaskHealth::record(size_t index, const CheckResult& result) {
  if (!asks(index)) return std::nullopt;
  Check& check = checks_[index];
  check.in_a_row = check.in_a_row > 0 && check.last_well == result.well ? check.in_a_row + 1 : 1;
  check.last_well = result.well;
  if (!result.well) check.output = one_line(result.output);
  if (result.well && check.in_a_row >= check.spec.successes) check.verdict = Verdict::passes;
  if (!result.well && check.in_a_row >= check.spec.failures) {
    check.verdict = Verdict::fails;
    if (check.spec.kind != CheckKind::readiness)
      return HealthChange{state_ = HealthState::unhealthy, complaint(check), true};
  }
  const auto failing = std::ranges::find(checks_, Verdict::fails, &Check::verdict);
  HealthState now = state_;
  if (failing != checks_.end())
    now = HealthState::unhealthy;
  else if (std::ranges::all_of(checks_, [](const Check& c) { return c.verdict == Verdict::passes; }))
    now = HealthState::healthy;
  if (now == state_) return std::nullopt;
  state_ = now;
  return HealthChange{now, now == HealthState::unhealthy ? complaint(*failing) : std::string(), false};
}

std::string TaskHealth::complaint(const Check& check) {
  const std::string& kind = codec::words_of<CheckKind>()[static_cast<size_t>(check.spec.kind)].word;
  const std::string name =
      check.spec.name.empty() || check.spec.name == kind ? kind + " check" : kind + " check " + check.spec.name;
  const std::string times =
      check.in_a_row > 1 ? " failed " + std::to_string(check.in_a_row) + " times in a row" : " failed";
  return name + times + (check.output.empty() ? "" : ": " + check.output);
}

}  // namespace tutti::worker
