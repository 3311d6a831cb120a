#pragma once
// Completion scripts for bash, zsh and fish, made from the words the command line knows. Names of objects are asked of
// the pool as they are needed; without a pool there are none. Verbs that take a file (run, validate, import) get files.
// Pure.

#include <string>
#include <string_view>
#include <vector>

namespace tutti::cli {

struct NounWords {
  std::string_view noun;
  std::vector<std::string_view> verbs;
  bool named = false;  // `tutti NOUN list -o name` lists what the verbs take
};

struct CompletionWords {
  std::vector<std::string_view> commands;
  std::vector<NounWords> nouns;
  std::vector<std::string> options;  // "--tail"
};

// Empty: not a shell we write for.
std::string completion_script(std::string_view shell, const CompletionWords& words);

}  // namespace tutti::cli
