#pragma once
// What commands print for people.

#include <cstdio>

namespace tutti::cli {

// printf. Much of what is told was written by others: a worker, a task, a registry. None of it steers the terminal
// (base/printable.h); lines and tabs stay.
[[gnu::format(printf, 2, 3)]] void say(std::FILE* to, const char* format, ...);

}  // namespace tutti::cli
