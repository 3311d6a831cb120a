#pragma once
// The roles that one executable can play (T01). Each runs until it is told to stop and returns the exit code.

#include <string>
#include <vector>

#include "app/settings.h"

namespace tutti::app {

int run_manager(const std::vector<std::string>& arguments);
int run_worker(const std::vector<std::string>& arguments);
// Schedules for a manager elsewhere (T04).
int run_scheduler(const std::vector<std::string>& arguments);
// A whole pool on this machine: one manager, N workers; with more than one, each in a network namespace of its own.
int run_up(const std::vector<std::string>& arguments);

// `tutti sim …`; app/sim/.
int run_sim(const std::vector<std::string>& arguments);
int run_replay(const std::vector<std::string>& arguments);
int run_fleet(const std::vector<std::string>& arguments);
// Measures this executable; app/bench/.
int run_bench(const std::vector<std::string>& arguments);

std::vector<Setting> manager_settings();
std::vector<Setting> worker_settings();
std::vector<Setting> scheduler_settings();
std::vector<Setting> up_settings();

// `tutti config show --role manager …`
int show_settings(const std::vector<std::string>& arguments);

// Prints "tutti: <message>" on standard error and returns 1, or 2 for wrong use.
int complain(const Error& error);
// As log-level and log-format say.
// A role's settings, and those of its log that configure_log() reads.
std::vector<Setting> with_log_settings(std::vector<Setting> own);
void configure_log(const Settings& settings, const std::string& component);
// Blocks SIGINT, SIGTERM in this thread and all it will make; wait_for_signal returns the one that came.
void block_signals();
int wait_for_signal(int timeout_ms);  // 0: none came

// Default folders, from the data directory: two pools on one machine do not meet.
std::string default_run_dir(const std::string& data_dir);

}  // namespace tutti::app
