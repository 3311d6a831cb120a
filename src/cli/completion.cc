#include "cli/completion.h"

namespace tutti::cli {
namespace {

template <class Words>
std::string joined(const Words& words) {
  std::string out;
  for (const auto& word : words) (out += out.empty() ? "" : " ") += word;
  return out;
}

// Nouns are singular; their plurals mean the same.
std::string bash(const CompletionWords& words) {
  std::string out =
      "_tutti() {\n  local word=${COMP_WORDS[COMP_CWORD]} noun=${COMP_WORDS[1]%s} words=\n"
      "  if [[ $word == -* ]]; then\n    words='" +
      joined(words.options) +
      "'\n"
      "  elif [ \"$COMP_CWORD\" -eq 1 ]; then\n    words='" +
      joined(words.commands) +
      "'\n"
      "  elif [ \"$COMP_CWORD\" -eq 2 ]; then\n    case $noun in\n";
  for (const NounWords& noun : words.nouns)
    out += "      " + std::string(noun.noun) + ") words='" + joined(noun.verbs) + "' ;;\n";
  out += "    esac\n  fi\n  case $noun:$COMP_CWORD in\n    ";
  std::string named;
  for (const NounWords& noun : words.nouns) {
    if (noun.named) (named += named.empty() ? "" : "|") += std::string(noun.noun) + ":3";
  }
  out += named +
         ") [[ $word == -* || $word == */* || ${COMP_WORDS[2]} == @(run|validate|import) ]] || words=$(tutti \"$noun\" "
         "list -o name 2>/dev/null) ;;\n"
         "    explain:2) words=\"$(tutti job list -o name 2>/dev/null) $(tutti instance list -o name 2>/dev/null)\" "
         ";;\n  esac\n"
         "  if [ -n \"$words\" ]; then COMPREPLY=($(compgen -W \"$words\" -- \"$word\")); else COMPREPLY=($(compgen -f "
         "-- \"$word\")); fi\n"
         "}\ncomplete -F _tutti tutti\n";
  return out;
}

std::string fish(const CompletionWords& words) {
  std::string out = "complete -c tutti -n __fish_use_subcommand -f -a '" + joined(words.commands) + "'\n";
  for (const NounWords& noun : words.nouns) {
    const std::string name(noun.noun);
    const std::string seen = "__fish_seen_subcommand_from " + name + " " + name + "s";
    out += "complete -c tutti -n '" + seen + "; and not __fish_seen_subcommand_from " + joined(noun.verbs) +
           "' -f -a '" + joined(noun.verbs) + "'\n";
    if (noun.named) {
      out += "complete -c tutti -n '" + seen + "; and __fish_seen_subcommand_from " + joined(noun.verbs) +
             "; and not __fish_seen_subcommand_from run validate import' -f -a '(tutti " + name +
             " list -o name 2>/dev/null)'\n";
    }
  }
  for (const std::string& option : words.options) out += "complete -c tutti -l " + option.substr(2) + "\n";
  return out;
}

}  // namespace

std::string completion_script(std::string_view shell, const CompletionWords& words) {
  if (shell == "bash") return bash(words);
  if (shell == "zsh")
    return "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n" + bash(words);
  if (shell == "fish") return fish(words);
  return {};
}

}  // namespace tutti::cli
