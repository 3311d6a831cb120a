#include "cli/usage.h"

#include <algorithm>

#include "base/text.h"

namespace tutti::cli {
namespace {

// Roles and measurements: the executable plays them itself (app), each with a --help of its own.
constexpr std::string_view kRoles[] = {"up", "manager", "worker", "scheduler", "bench", "sim"};

std::vector<std::string_view> own_options(const Usage& usage) {
  std::vector<std::string_view> out;
  for (std::string_view rest = usage.options; !rest.empty();) {
    const size_t end = std::min(rest.find(' '), rest.size());
    out.push_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return out;
}

bool takes(const Usage& usage, const Option& option) {
  const auto own = own_options(usage);
  return option.common || std::find(own.begin(), own.end(), option.name) != own.end();
}

std::string did_you_mean(std::string_view word, const std::vector<std::string_view>& known) {
  const std::string_view nearest = nearest_word(word, known);
  return nearest.empty() ? "" : ": did you mean '" + std::string(nearest) + "'?";
}

tl::unexpected<Error> wrong(std::string message) {
  return fail(ErrorCode::invalid, std::move(message));
}

bool has_verbs(std::string_view noun) {
  return !verbs_of(noun).empty();
}

std::string option_line(const Option& option) {
  std::string left = option.letter != 0 ? std::string("  -") + option.letter + ", --" : "      --";
  left += option.name;
  if (option.kind != ValueKind::flag) left += " " + std::string(option.value);
  left.resize(std::max<size_t>(left.size() + 2, 32), ' ');
  return left + std::string(option.help) + "\n";
}

// A count that cannot be, not an option: no letter of ours is a digit. Who takes the word says what is wrong with it.
bool is_negative(std::string_view word) {
  return word.size() > 1 && word[0] == '-' && word.find_first_not_of("0123456789", 1) == std::string_view::npos;
}

class Parser {
 public:
  explicit Parser(const std::vector<std::string>& arguments) : arguments_(arguments) {}

  Result<Invocation> run() {
    for (at_ = 0; at_ < arguments_.size(); ++at_) {
      const std::string& word = arguments_[at_];
      if (word == "--") {
        out_.command.assign(arguments_.begin() + static_cast<ptrdiff_t>(at_) + 1, arguments_.end());
        dashes_ = true;
        break;
      }
      if (word.size() < 2 || word[0] != '-' || is_negative(word)) {
        if (command_begins()) {
          out_.command.assign(arguments_.begin() + static_cast<ptrdiff_t>(at_), arguments_.end());
          break;
        }
        TUTTI_CHECK(take_word(word));
      } else if (word[1] == '-') {
        TUTTI_CHECK(take_long(word));
      } else {
        TUTTI_CHECK(take_letters(word));
      }
    }
    if (out_.options.contains("help") || asks_for_help()) {
      TUTTI_TRY(out_.help, help());
      return std::move(out_);
    }
    TUTTI_CHECK(check());
    return std::move(out_);
  }

 private:
  // Docker's habit: what follows the image or the instance is the command, options and all.
  bool command_begins() const {
    return out_.usage != nullptr && out_.usage->takes_command && out_.words.size() == out_.usage->most;
  }

  Status take_word(const std::string& word) {
    if (out_.usage != nullptr) return out_.words.push_back(word), Status{};
    if (noun_.empty()) {
      const auto known = command_words();
      const auto other = aliases();
      if (const auto alias = other.find(word); alias != other.end()) {
        const size_t space = alias->second.find(' ');
        out_.usage = find_usage(alias->second.substr(0, space), alias->second.substr(space + 1));
        return {};
      }
      noun_ = word;
      const bool plural = noun_.ends_with("s") && has_verbs(std::string_view(noun_).substr(0, noun_.size() - 1));
      if (plural) noun_.pop_back();
      if (std::find(known.begin(), known.end(), std::string_view(noun_)) == known.end())
        return wrong("there is no command '" + word + "'" + did_you_mean(word, known) + "; 'tutti help' lists them");
      if (!has_verbs(noun_)) out_.usage = find_usage(noun_, "");
      return {};
    }
    out_.usage = find_usage(noun_, word);
    if (out_.usage != nullptr) return {};
    std::string all;
    for (std::string_view each : verbs_of(noun_)) all += (all.empty() ? "" : ", ") + std::string(each);
    return wrong(noun_ + " has no verb '" + word + "'" + did_you_mean(word, verbs_of(noun_)) + "; there are: " + all);
  }

  // The command's own meaning of a letter comes before the common one: -v of run, -w of exec.
  const Option* with_letter(char letter) const {
    const Option* found = nullptr;
    for (const Option& option : all_options()) {
      if (option.letter != letter) continue;
      const bool mine = out_.usage != nullptr && !option.common && takes(*out_.usage, option);
      if (found == nullptr || mine) found = &option;
    }
    return found;
  }

  Status take_letters(const std::string& word) {
    for (size_t c = 1; c < word.size(); ++c) {
      const Option* option = with_letter(word[c]);
      if (option == nullptr) return wrong("there is no option '-" + std::string(1, word[c]) + "'" + see_help());
      if (option->kind == ValueKind::flag) {
        TUTTI_CHECK(keep(*option, "true"));
      } else if (c + 1 < word.size()) {
        return keep(*option, word.substr(c + 1));
      } else {
        TUTTI_TRY(const std::string value, next_value(*option));
        return keep(*option, value);
      }
    }
    return {};
  }

  Status take_long(const std::string& word) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(2, equals == std::string::npos ? std::string::npos : equals - 2);
    if (name == "version" && noun_.empty()) {
      noun_ = "version";
      out_.usage = find_usage("version", "");
      return {};
    }
    const Option* found = nullptr;
    std::vector<std::string> names;
    for (const Option& option : all_options()) {
      if (option.name == name) found = &option;
      names.push_back("--" + std::string(option.name));
    }
    if (found == nullptr) {
      return wrong("there is no option '--" + name + "'" + did_you_mean("--" + name, {names.begin(), names.end()}) +
                   see_help());
    }
    if (equals != std::string::npos) return keep(*found, word.substr(equals + 1));
    if (found->kind == ValueKind::flag) return keep(*found, "true");
    TUTTI_TRY(const std::string value, next_value(*found));
    return keep(*found, value);
  }

  Result<std::string> next_value(const Option& option) {
    if (at_ + 1 >= arguments_.size())
      return wrong("--" + std::string(option.name) + " needs a value: " + std::string(option.value));
    return arguments_[++at_];
  }

  Status keep(const Option& option, const std::string& value) {
    TUTTI_CHECK(check_value(option, value));
    used_.push_back(&option);
    const std::string name(option.name);
    if (option.repeated)
      out_.repeated.emplace_back(name, value);
    else
      out_.options[name] = value;
    return {};
  }

  std::string see_help() const {
    return "; 'tutti help" + (out_.usage != nullptr ? " " + title(*out_.usage) : std::string()) + "' says more";
  }

  bool asks_for_help() const {
    return noun_.empty() && out_.usage == nullptr ? true : out_.usage != nullptr && out_.usage->noun == "help";
  }

  Result<std::string> help() {
    std::vector<std::string> words = out_.words;
    if (out_.usage != nullptr && out_.usage->noun != "help") return usage_help(*out_.usage);
    if (out_.usage == nullptr && !noun_.empty()) return noun_help(noun_);
    if (words.empty()) return std::string();
    Parser about({words.begin(), words.end()});
    for (const std::string& word : words) TUTTI_CHECK(about.take_word(word));
    if (about.out_.usage != nullptr) return usage_help(*about.out_.usage);
    const bool role =
        std::find(std::begin(kRoles), std::end(kRoles), std::string_view(about.noun_)) != std::end(kRoles);
    return role ? "'tutti " + about.noun_ + " --help' says more\n" : noun_help(about.noun_);
  }

  Status check() {
    if (out_.usage == nullptr) {  // a noun alone lists, or shows the only one of its kind
      out_.usage = find_usage(noun_, "list");
      const Usage* only = find_usage(noun_, "show");
      if (out_.usage == nullptr && only != nullptr && only->most == 0) out_.usage = only;
      if (out_.usage == nullptr)
        return wrong("'tutti " + noun_ + "' takes more words: see 'tutti " + noun_ + " --help'");
    }
    const Usage& usage = *out_.usage;
    for (const Option* option : used_) {
      if (!takes(usage, *option))
        return wrong("'tutti " + title(usage) + "' takes no option --" + std::string(option->name) +
                     "; usage: " + usage_line(usage));
    }
    if (dashes_ && !usage.takes_command)
      return wrong("'tutti " + title(usage) + "' takes no command behind '--'; usage: " + usage_line(usage));
    if (out_.words.size() < usage.least) return wrong("usage: " + usage_line(usage));
    if (out_.words.size() > usage.most)
      return wrong("'" + out_.words[usage.most] + "' is a word too many; usage: " + usage_line(usage));
    return {};
  }

  static std::string title(const Usage& usage) {
    return std::string(usage.noun) + (usage.verb.empty() ? "" : " " + std::string(usage.verb));
  }

  const std::vector<std::string> arguments_;
  size_t at_ = 0;
  Invocation out_;
  std::string noun_;
  bool dashes_ = false;
  std::vector<const Option*> used_;
};

}  // namespace

Result<Invocation> parse_command_line(const std::vector<std::string>& arguments) {
  return Parser(arguments).run();
}

const Usage* find_usage(std::string_view noun, std::string_view verb) {
  for (const Usage& usage : usages()) {
    if (usage.noun == noun && usage.verb == verb) return &usage;
  }
  return nullptr;
}

std::vector<std::string_view> verbs_of(std::string_view noun) {
  std::vector<std::string_view> out;
  for (const Usage& usage : usages()) {
    if (usage.noun == noun && !usage.verb.empty()) out.push_back(usage.verb);
  }
  return out;
}

std::vector<std::string_view> command_words() {
  std::vector<std::string_view> out(std::begin(kRoles), std::end(kRoles));
  for (const Usage& usage : usages()) {
    if (std::find(out.begin(), out.end(), usage.noun) == out.end()) out.push_back(usage.noun);
  }
  for (const auto& [alias, meaning] : aliases()) out.push_back(alias);
  return out;
}

std::string usage_line(const Usage& usage) {
  std::string out = "tutti " + std::string(usage.noun);
  if (!usage.verb.empty()) out += " " + std::string(usage.verb);
  if (!usage.arguments.empty()) out += " " + std::string(usage.arguments);
  return out;
}

std::string usage_help(const Usage& usage) {
  std::string out =
      "Example: " + std::string(usage.example) + "\n\n" + usage_line(usage) + "\n" + std::string(usage.summary) + "\n";
  for (const auto& [alias, meaning] : aliases()) {
    if (meaning == std::string(usage.noun) + " " + std::string(usage.verb))
      out += "Also: tutti " + std::string(alias) + "\n";
  }
  const auto own = own_options(usage);
  if (!own.empty()) out += "\n";
  for (std::string_view name : own) {
    for (const Option& option : all_options()) {
      if (option.name == name) out += option_line(option);
    }
  }
  out += "\nEverywhere:\n";
  for (const Option& option : all_options()) {
    const bool hidden = option.letter != 0 && std::any_of(own.begin(), own.end(), [&](std::string_view name) {
                          return std::any_of(all_options().begin(), all_options().end(), [&](const Option& other) {
                            return other.name == name && other.letter == option.letter;
                          });
                        });
    Option shown = option;
    if (hidden) shown.letter = 0;  // the command means something else by it
    if (option.common) out += option_line(shown);
  }
  return out;
}

std::string noun_help(std::string_view noun) {
  std::string out = "tutti " + std::string(noun) + " VERB; 'tutti " + std::string(noun) + " VERB --help' says more\n\n";
  for (const Usage& usage : usages()) {
    if (usage.noun != noun) continue;
    std::string left = "  " + std::string(usage.verb) + " " + std::string(usage.arguments);
    left.resize(std::max<size_t>(left.size() + 2, 40), ' ');
    out += left + std::string(usage.summary) + "\n";
  }
  return out;
}

}  // namespace tutti::cli
