#pragma once
// Usage: every command in one table: its words, its options, a line about it, an example. What is parsed, checked,
// helped with, completed and suggested all comes from here. Pure.

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/options.h"

namespace tutti::cli {

struct Usage {
  std::string_view noun;       // "job"; of a command without verbs, the command
  std::string_view verb;       // empty: the command has none
  std::string_view arguments;  // "NAME [TASK=]COUNT"
  size_t least = 0;            // words behind the verb
  size_t most = 0;
  std::string_view options;  // its own, beside the common ones: "follow tail"
  std::string_view summary;
  std::string_view example;
  bool takes_command = false;  // what stands behind its last word, or behind "--", is a command line
};

inline constexpr size_t kAnyWords = 1000;

// What was written on a command line.
struct Invocation {
  const Usage* usage = nullptr;                // null: help was asked for, or nothing was said
  std::vector<std::string> words;              // behind the verb
  std::map<std::string, std::string> options;  // "tail" → "5"; a flag → "true"
  std::vector<std::pair<std::string, std::string>> repeated;
  std::vector<std::string> command;  // behind "--"
  std::string help;                  // to print instead
};

// Everything is checked: the words and their number, that the command takes the option, that the value is one. An error
// is `invalid`; its message suggests the nearest right word or says the usage.
Result<Invocation> parse_command_line(const std::vector<std::string>& arguments);

std::span<const Usage> usages();
const Usage* find_usage(std::string_view noun, std::string_view verb);
std::string usage_line(const Usage& usage);  // "tutti job scale NAME [TASK=]COUNT"
std::string usage_help(const Usage& usage);  // the whole text
std::string noun_help(std::string_view noun);
// Docker's words, and what they mean here: "logs" → "instance logs".
std::map<std::string_view, std::string_view> aliases();
// What the first word can be: nouns, commands, roles, aliases.
std::vector<std::string_view> command_words();
std::vector<std::string_view> verbs_of(std::string_view noun);

}  // namespace tutti::cli
