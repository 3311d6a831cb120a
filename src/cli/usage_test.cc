// Every command line is checked whole, before anything is sent.
#include "cli/usage.h"

#include <gmock/gmock.h>

#include <set>

#include "cli/cli.h"

namespace tutti::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string refusal(const std::vector<std::string>& words) {
  const auto parsed = parse_command_line(words);
  return parsed ? "" : parsed.error().message;
}

TEST(Usage, EveryCommandHasAnExampleThatIsRightItself) {
  std::set<std::string> seen;
  for (const Usage& usage : usages()) {
    std::vector<std::string> words;
    std::string text(usage.example);
    for (size_t at = 0; (at = text.find(' ')) != std::string::npos; text.erase(0, at + 1))
      words.push_back(text.substr(0, at));
    words.push_back(text);
    if (words[0] == "source" || usage.noun == "config") continue;  // the shell's; the application's
    words.erase(words.begin());
    EXPECT_EQ(refusal(words), "") << usage.example;
    EXPECT_FALSE(usage.summary.empty());
    EXPECT_TRUE(seen.insert(usage_line(usage)).second) << "twice: " << usage_line(usage);
    EXPECT_TRUE(usage_help(usage).starts_with("Example: ")) << usage_line(usage);
  }
}

TEST(Usage, EveryAliasMeansACommand) {
  for (const auto& [alias, meaning] : aliases()) {
    const size_t space = meaning.find(' ');
    ASSERT_NE(find_usage(meaning.substr(0, space), meaning.substr(space + 1)), nullptr) << meaning;
    EXPECT_EQ(find_usage(alias, ""), nullptr) << alias;
  }
}

TEST(Usage, EveryOptionOfTheTableExists) {
  std::set<std::string_view> names;
  for (const Option& option : all_options()) EXPECT_TRUE(names.insert(option.name).second) << option.name;
  for (const Usage& usage : usages()) {
    std::string rest(usage.options);
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(' '), rest.size());
      EXPECT_TRUE(names.contains(rest.substr(0, end))) << rest;
      rest.erase(0, end + 1);
    }
  }
}

TEST(Usage, WhatFollowsTheImageIsTheCommand) {
  const auto call = parse_command_line({"run", "--rm", "-it", "-p", "80", "hello:1", "ls", "-l", "--all", "--", "x"});
  ASSERT_TRUE(call) << call.error().message;
  EXPECT_THAT(call->words, ElementsAre("hello:1"));
  EXPECT_THAT(call->command, ElementsAre("ls", "-l", "--all", "--", "x"));
  EXPECT_EQ(call->options.at("rm"), "true");
  EXPECT_EQ(call->options.at("tty"), "true");
  EXPECT_THAT(parse_command_line({"run", "hello:1", "--rm", "--", "echo", "-n"})->command, ElementsAre("echo", "-n"));
  EXPECT_THAT(parse_command_line({"exec", "web-0", "ls", "-l"})->command, ElementsAre("ls", "-l"));
}

TEST(Usage, ALetterMeansWhatTheCommandSays) {
  EXPECT_THAT(parse_command_line({"run", "-v", "a:/b", "-w", "/x", "hello:1"})->repeated,
              ElementsAre(std::pair<std::string, std::string>("volume", "a:/b")));
  EXPECT_EQ(parse_command_line({"ps", "-v", "-w"})->options.at("verbose"), "true");
  EXPECT_EQ(parse_command_line({"run", "-m256Mi", "hello:1"})->options.at("memory"), "256Mi");
}

TEST(Usage, WrongWordsAreRefusedWithTheRightOnes) {
  EXPECT_THAT(refusal({"jbo", "list"}), HasSubstr("did you mean 'job'"));
  EXPECT_THAT(refusal({"job", "shwo", "x"}), HasSubstr("did you mean 'show'"));
  EXPECT_THAT(refusal({"job", "stop", "x", "--tiemout", "1s"}), HasSubstr("did you mean '--timeout'"));
  EXPECT_THAT(refusal({"job", "stop", "x", "--tail", "3"}), HasSubstr("takes no option --tail"));
  EXPECT_THAT(refusal({"job", "stop", "x", "y"}), HasSubstr("'y' is a word too many"));
  EXPECT_THAT(refusal({"job", "stop"}), HasSubstr("usage: tutti job stop NAME"));
  EXPECT_THAT(refusal({"job", "stop", "x", "--timeout", "soon"}), HasSubstr("--timeout"));
  EXPECT_THAT(refusal({"job", "stop", "x", "--timeout"}), HasSubstr("needs a value"));
  EXPECT_THAT(refusal({"job", "stop", "x", "--", "sh"}), HasSubstr("no command behind"));
  EXPECT_THAT(refusal({"instance", "logs", "x", "--tail", "all"}), HasSubstr("not a number"));
  EXPECT_THAT(refusal({"rebalance", "--max-moves", "-1"}), HasSubstr("--max-moves: '-1' is below 0"));
  EXPECT_THAT(refusal({"rebalance", "--max-moves", "1234567890"}), HasSubstr("too large: at most 999999999"));
  EXPECT_THAT(refusal({"rebalance", "--max-moves", "-"}), HasSubstr("not a number"));
  EXPECT_EQ(parse_command_line({"node", "token", "--uses", "-1"})->options.at("uses"), "-1");
  EXPECT_THAT(parse_command_line({"job", "scale", "upd", "-1"})->words, ElementsAre("upd", "-1"));
  EXPECT_THAT(refusal({"job", "stop", "x", "-1"}), HasSubstr("'-1' is a word too many"));
  EXPECT_THAT(refusal({"instance", "logs", "x", "--follow=maybe"}), HasSubstr("true or false"));
  EXPECT_THAT(refusal({"ps", "-o", "xml"}), HasSubstr("json"));
}

TEST(Usage, HelpNamesEveryCommand) {
  for (std::string_view word : command_words())
    EXPECT_THAT(help_text(), testing::ContainsRegex("[ |]" + std::string(word) + "\\b")) << word;
}

TEST(Usage, WhatOnlyChangesByOptionsNamesThem) {
  EXPECT_EQ(usage_line(*find_usage("pool", "set")), "tutti pool set --policy POLICY");
  EXPECT_THAT(usage_line(*find_usage("project", "set")), HasSubstr("[--preemption] [--privileged] [--host-path PATH]"));
}

TEST(Usage, PluralsAndNounsAloneAndHelp) {
  EXPECT_EQ(parse_command_line({"jobs"})->usage->verb, "list");
  EXPECT_EQ(parse_command_line({"pool"})->usage->verb, "show");
  EXPECT_EQ(parse_command_line({"images", "-o", "name"})->usage->noun, "image");
  EXPECT_EQ(parse_command_line({"--version"})->usage->noun, "version");
  EXPECT_THAT(parse_command_line({"help", "jobs", "run"})->help, HasSubstr("tutti job run FILE"));
  EXPECT_THAT(parse_command_line({"job", "--help"})->help, HasSubstr("scale NAME"));
  EXPECT_THAT(parse_command_line({"logs", "-h"})->help, HasSubstr("Also: tutti logs"));
  EXPECT_EQ(parse_command_line({})->help, "");
}

TEST(Options, SincesAndDockersUnits) {
  EXPECT_EQ(*since_text("2s", Time{10'000'000'000}), format_time(Time{8'000'000'000}));
  EXPECT_EQ(*since_text("2026-01-31T12:00:00Z", Time{}), "2026-01-31T12:00:00.000Z");
  EXPECT_FALSE(since_text("yesterday", Time{}));
  EXPECT_EQ(memory_text("256m"), "256Mi");
  EXPECT_EQ(memory_text("1Gi"), "1Gi");
  EXPECT_EQ(cpu_text("0.5"), "0.5c");
  EXPECT_EQ(cpu_text("500m"), "500m");
}

}  // namespace
}  // namespace tutti::cli
