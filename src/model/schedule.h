#pragma once
// Schedule: at which times a periodic job is launched. Pure arithmetic over cron fields and the rules of a time zone.
//
//   "*/5 * * * *"        minute hour day month weekday; names (mon, jan), ranges, steps and lists as in crontab(5)
//   "30 */5 * * * *"     six fields: second first
//   "@every 90s"         whole seconds, counted from 1970-01-01 UTC, so that every manager finds the same times
//   "@hourly" "@daily" "@weekly" "@monthly" "@yearly"
//
// Where both day and weekday are limited, either will do, as cron has it. When clocks change (as in ISC cron): a local
// time that is left out comes at the moment after the gap, one that comes twice counts the first time; a schedule for
// every hour keeps its pace through both. Zones are those of the system's tz database, which cctz reads when a name
// is first asked for and keeps for the life of the process: to this code they are constants. UTC needs no database.
//
// Values, any thread. Times are whole seconds.

#include <cctz/time_zone.h>

#include <bitset>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "model/launch.h"

namespace tutti {

class Schedule {
 public:
  // `invalid` says which field is wrong, or that the time zone is not known here, or that it never comes.
  static Result<Schedule> parse(const std::vector<std::string>& crons, const std::string& time_zone);
  static Result<Schedule> of(const PeriodicSpec& spec);

  // The first time after `t`; nothing where none comes within kYearsAhead.
  std::optional<Time> next_after(Time t) const;
  // The newest time in (after, until].
  std::optional<Time> last_in(Time after, Time until) const;

  static constexpr int64_t kYearsAhead = 12;  // 29 February is at most eight years away

 private:
  struct Cron {
    int64_t every_seconds = 0;  // not 0: nothing else counts
    std::bitset<60> seconds;
    std::bitset<60> minutes;
    std::bitset<24> hours;
    std::bitset<32> days;     // 1..31
    std::bitset<13> months;   // 1..12
    std::bitset<7> weekdays;  // 0 is Sunday
    bool any_day = true;
    bool any_weekday = true;
  };
  static Result<Cron> parse_cron(std::string_view text);
  static std::optional<cctz::civil_second> match(const Cron& cron, cctz::civil_second from, int64_t last_year);
  std::optional<Time> next_of(const Cron& cron, Time t) const;
  std::optional<Time> next_at_pace(const Cron& cron, cctz::time_point<cctz::seconds> t, int64_t last_year) const;
  std::optional<Time> next_by_clock(const Cron& cron, cctz::time_point<cctz::seconds> t, int64_t last_year) const;

  std::vector<Cron> crons_;
  cctz::time_zone zone_;
};

}  // namespace tutti
