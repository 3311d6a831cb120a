#include "model/schedule.h"

#include <cctz/civil_time.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>

#include "base/text.h"

namespace tutti {
namespace {

using Instant = cctz::time_point<cctz::seconds>;

constexpr int64_t kNsPerSecond = 1'000'000'000;
constexpr std::array<std::string_view, 12> kMonths{"jan", "feb", "mar", "apr", "may", "jun",
                                                   "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::array<std::string_view, 7> kWeekdays{"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

struct Field {
  std::string_view name;
  int min;
  int max;
};
constexpr std::array<Field, 6> kFields{
    {{"second", 0, 59}, {"minute", 0, 59}, {"hour", 0, 23}, {"day", 1, 31}, {"month", 1, 12}, {"weekday", 0, 7}}};

struct Macro {
  std::string_view word;
  std::string_view fields;
};
constexpr std::array<Macro, 7> kMacros{{{"@hourly", "0 * * * *"},
                                        {"@daily", "0 0 * * *"},
                                        {"@midnight", "0 0 * * *"},
                                        {"@weekly", "0 0 * * 0"},
                                        {"@monthly", "0 0 1 * *"},
                                        {"@yearly", "0 0 1 1 *"},
                                        {"@annually", "0 0 1 1 *"}}};

Time to_time(Instant at) {
  return Time{at.time_since_epoch().count() * kNsPerSecond};
}

Instant to_instant(Time t) {
  const int64_t rest = t.ns % kNsPerSecond;
  return Instant(cctz::seconds(t.ns / kNsPerSecond - (rest < 0 ? 1 : 0)));
}

tl::unexpected<Error> bad(std::string_view cron, const std::string& what) {
  return fail(ErrorCode::invalid, "cron \"" + std::string(cron.substr(0, 80)) + "\": " + what);
}

template <size_t N>
std::optional<int> index_of(const std::array<std::string_view, N>& words, std::string_view word) {
  for (size_t i = 0; i < N; ++i) {
    const bool same = word.size() == 3 && std::equal(word.begin(), word.end(), words[i].begin(), [](char a, char b) {
                        return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
                      });
    if (same) return static_cast<int>(i);
  }
  return std::nullopt;
}

std::optional<int> value_of(const Field& field, std::string_view text) {
  if (field.name == "month") {
    if (auto month = index_of(kMonths, text)) return *month + 1;
  }
  if (field.name == "weekday") {
    if (auto day = index_of(kWeekdays, text)) return *day;
  }
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || text.size() > 2 || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "*", "5", "1-5", "*/2", "10-30/5", "mon", and lists of them.
Result<std::bitset<60>> parse_field(std::string_view cron, const Field& field, std::string_view text) {
  std::bitset<60> out;
  const std::string range = std::to_string(field.min) + " to " + std::to_string(field.max);
  for (const std::string& part : split(text, ',')) {
    std::string_view body = part;
    int step = 1;
    bool open_ended = false;  // "5/10": from 5 on
    if (const size_t slash = body.find('/'); slash != std::string_view::npos) {
      const auto parsed = value_of({"step", 1, 59}, body.substr(slash + 1));
      if (!parsed || *parsed < 1 || *parsed > 59) return bad(cron, "the step in \"" + part + "\" is not 1 to 59");
      step = *parsed;
      open_ended = true;
      body = body.substr(0, slash);
    }
    int first = field.min;
    int last = field.name == "weekday" ? 6 : field.max;
    if (body != "*" && body != "?") {
      const size_t dash = body.find('-');
      const auto low = value_of(field, body.substr(0, dash));
      const auto high = dash == std::string_view::npos ? low : value_of(field, body.substr(dash + 1));
      if (!low || !high || *low < field.min || *high > field.max) {
        return bad(cron, "\"" + part + "\" is not a " + std::string(field.name) + " (" + range + ")");
      }
      if (*low > *high) return bad(cron, "the range \"" + part + "\" goes backwards: write it as two");
      first = *low;
      if (dash != std::string_view::npos || !open_ended) last = *high;
    }
    for (int value = first; value <= last; value += step)
      out.set(static_cast<size_t>(field.name == "weekday" ? value % 7 : value));
  }
  return out;
}

template <size_t N>
void take(std::bitset<N>& to, const std::bitset<60>& from) {
  for (size_t i = 0; i < N && i < 60; ++i) to[i] = from[i];
}

}  // namespace

Result<Schedule::Cron> Schedule::parse_cron(std::string_view text) {
  const std::string whole(trim(text));
  std::string_view fields = whole;
  Cron out;
  if (fields.starts_with("@every ")) {
    TUTTI_TRY(const Duration every, parse_duration(trim(fields.substr(7))));
    if (every < seconds(1) || every.ns % kNsPerSecond != 0) return bad(whole, "whole seconds, at least 1s");
    out.every_seconds = every.ns / kNsPerSecond;
    return out;
  }
  for (const Macro& macro : kMacros)
    if (fields == macro.word) fields = macro.fields;
  if (fields.starts_with('@'))
    return bad(whole, "there are @every 90s, @hourly, @daily, @weekly, @monthly and @yearly");
  std::vector<std::string> words;
  for (const std::string& word : split(fields, ' '))
    if (!word.empty()) words.push_back(word);
  if (words.size() == 5) words.insert(words.begin(), "0");
  if (words.size() != 6) return bad(whole, "five fields (minute hour day month weekday), or six with the second first");
  std::array<std::bitset<60>, 6> sets;
  for (size_t i = 0; i < sets.size(); ++i) {
    TUTTI_TRY(sets[i], parse_field(whole, kFields[i], words[i]));
  }
  out.seconds = sets[0];
  out.minutes = sets[1];
  take(out.hours, sets[2]);
  take(out.days, sets[3]);
  take(out.months, sets[4]);
  take(out.weekdays, sets[5]);
  out.any_day = words[3].starts_with('*') || words[3] == "?";
  out.any_weekday = words[5].starts_with('*') || words[5] == "?";
  return out;
}

Result<Schedule> Schedule::parse(const std::vector<std::string>& crons, const std::string& time_zone) {
  Schedule out;
  if (crons.empty()) return fail(ErrorCode::invalid, "a schedule is needed: cron: \"*/5 * * * *\"");
  for (const std::string& text : crons) {
    TUTTI_TRY(Cron cron, parse_cron(text));
    out.crons_.push_back(cron);
  }
  const bool utc = time_zone.empty() || time_zone == "UTC";
  if (utc) {
    out.zone_ = cctz::utc_time_zone();
  } else if (time_zone.starts_with('/') || time_zone.find("..") != std::string::npos ||
             !cctz::load_time_zone(time_zone, &out.zone_)) {
    return fail(ErrorCode::invalid,
                "time zone \"" + time_zone.substr(0, 80) +
                    "\" is not known here: write Europe/Zurich (and install tzdata on the managers)");
  }
  for (size_t i = 0; i < crons.size(); ++i) {
    // From a fixed time, so that the answer does not depend on when it is asked.
    if (!out.next_of(out.crons_[i], Time{1})) return bad(crons[i], "this never comes");
  }
  return out;
}

Result<Schedule> Schedule::of(const PeriodicSpec& spec) {
  std::vector<std::string> crons = spec.crons;
  if (!spec.cron.empty()) crons.insert(crons.begin(), spec.cron);
  return parse(crons, spec.time_zone);
}

// The first local time from `from` on that the fields name.
std::optional<cctz::civil_second> Schedule::match(const Cron& cron, cctz::civil_second from, int64_t last_year) {
  cctz::civil_second at = from;
  while (at.year() <= last_year) {
    const auto weekday = (static_cast<size_t>(cctz::get_weekday(cctz::civil_day(at))) + 1) % 7;  // cctz: Monday is 0
    const bool day_fits = cron.days[static_cast<size_t>(at.day())];
    const bool weekday_fits = cron.weekdays[weekday];
    const bool either = !cron.any_day && !cron.any_weekday;
    if (!cron.months[static_cast<size_t>(at.month())]) {
      at = cctz::civil_second(cctz::civil_month(at) + 1);
    } else if (either ? !day_fits && !weekday_fits : !day_fits || !weekday_fits) {
      at = cctz::civil_second(cctz::civil_day(at) + 1);
    } else if (!cron.hours[static_cast<size_t>(at.hour())]) {
      at = cctz::civil_second(cctz::civil_hour(at) + 1);
    } else if (!cron.minutes[static_cast<size_t>(at.minute())]) {
      at = cctz::civil_second(cctz::civil_minute(at) + 1);
    } else if (!cron.seconds[static_cast<size_t>(at.second())]) {
      at += 1;
    } else {
      return at;
    }
  }
  return std::nullopt;
}

// Every hour counts: from one change of the clocks to the next, time runs evenly.
std::optional<Time> Schedule::next_at_pace(const Cron& cron, Instant t, int64_t last_year) const {
  Instant base = t + cctz::seconds(1);
  cctz::civil_second local = cctz::convert(base, zone_);
  while (true) {
    const auto found = match(cron, local, last_year);
    if (!found) return std::nullopt;
    const Instant at = base + cctz::seconds(*found - local);
    cctz::time_zone::civil_transition change;
    if (!zone_.next_transition(base, &change)) return to_time(at);
    const Instant changed = zone_.lookup(change.to).trans;
    if (at < changed || changed <= base) return to_time(at);
    base = changed;
    local = change.to;
  }
}

// What the clock on the wall says: once for each local time.
std::optional<Time> Schedule::next_by_clock(const Cron& cron, Instant t, int64_t last_year) const {
  cctz::civil_second from = cctz::convert(t, zone_) + 1;  // inside a gap that begins behind t, if there is one
  while (true) {
    const auto found = match(cron, from, last_year);
    if (!found) return std::nullopt;
    const auto local = zone_.lookup(*found);
    const bool left_out = local.kind == cctz::time_zone::civil_lookup::SKIPPED;
    const Instant at = left_out ? local.trans : local.pre;
    if (at > t) return to_time(at);
    from = *found + 1;
  }
}

std::optional<Time> Schedule::next_of(const Cron& cron, Time t) const {
  const Instant at = to_instant(t);
  if (cron.every_seconds > 0) {
    const int64_t passed = at.time_since_epoch().count() / cron.every_seconds;
    return Time{(passed + 1) * cron.every_seconds * kNsPerSecond};
  }
  const int64_t last_year = cctz::convert(at, zone_).year() + kYearsAhead;
  return cron.hours.all() ? next_at_pace(cron, at, last_year) : next_by_clock(cron, at, last_year);
}

std::optional<Time> Schedule::next_after(Time t) const {
  std::optional<Time> best;
  for (const Cron& cron : crons_) {
    const auto next = next_of(cron, t);
    if (next && (!best || *next < *best)) best = next;
  }
  return best;
}

std::optional<Time> Schedule::last_in(Time after, Time until) const {
  // Looking back twice as far each time finds the newest few without walking over all that a long outage missed.
  for (Duration back = seconds(1);; back = back * 2) {
    const bool all = until - after <= back;
    std::optional<Time> last;
    for (auto next = next_after(all ? after : until - back); next && *next <= until; next = next_after(*next))
      last = next;
    if (last || all) return last;
  }
}

}  // namespace tutti
