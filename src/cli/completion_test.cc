// The scripts as their shells see them; a shell that is not installed is passed over.
#include "cli/completion.h"

#include <gmock/gmock.h>
#include <stdlib.h>

#include <cstdio>
#include <fstream>

namespace tutti::cli {
namespace {

const CompletionWords kWords = {
    {"job", "run", "version"}, {{"job", {"run", "list", "show"}, true}}, {"--follow", "--tail"}};

class Completion : public testing::Test {
 protected:
  Completion() {
    char name[] = "/tmp/tutti-completion-XXXXXX";
    dir_ = ::mkdtemp(name);
    write("tutti", "#!/bin/sh\necho shop\n");  // answers `tutti job list -o name`
    EXPECT_EQ(std::system(("chmod +x " + dir_ + "/tutti; touch " + dir_ + "/shop.yaml").c_str()), 0);
  }
  ~Completion() override { EXPECT_EQ(std::system(("rm -r " + dir_).c_str()), 0); }
  void write(const std::string& name, const std::string& text) { std::ofstream(dir_ + "/" + name) << text; }

  static bool installed(const std::string& shell) {
    return std::system(("command -v " + shell + " >/dev/null").c_str()) == 0;
  }
  std::string run(const std::string& shell, const std::string& text) {
    write("script", completion_script(shell.substr(0, shell.find(' ')), kWords));
    write("test", "cd " + dir_ + "\nPATH=" + dir_ + ":$PATH\n. " + dir_ + "/script\n" + text + "\n");
    FILE* out = ::popen((shell + " " + dir_ + "/test 2>&1").c_str(), "r");
    std::string said;
    char piece[512];
    while (out != nullptr && std::fgets(piece, sizeof piece, out) != nullptr) said += piece;
    if (out != nullptr) ::pclose(out);
    return said;
  }
  // What bash offers for these words.
  std::string offered(const std::string& words) {
    return run("bash",
               "COMP_WORDS=(" + words + "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _tutti; echo \"${COMPREPLY[@]}\"");
  }
  std::string dir_;
};

TEST_F(Completion, BashOffersCommandsVerbsOptionsNamesAndFiles) {
  EXPECT_EQ(offered("tutti jo"), "job\n");
  EXPECT_EQ(offered("tutti jobs s"), "show\n");
  EXPECT_EQ(offered("tutti job show ''"), "shop\n");
  EXPECT_EQ(offered("tutti job run shop"), "shop.yaml\n");
  EXPECT_EQ(offered("tutti job show --fo"), "--follow\n");
}

TEST_F(Completion, ZshTakesTheScript) {
  if (!installed("zsh")) GTEST_SKIP() << "zsh is not installed";
  EXPECT_THAT(run("zsh -f", "whence -w _tutti"), testing::EndsWith("_tutti: function\n"));
}

TEST_F(Completion, FishOffersVerbsAndNames) {
  if (!installed("fish")) GTEST_SKIP() << "fish is not installed";
  write("script", completion_script("fish", kWords));
  EXPECT_EQ(
      std::system(("cd " + dir_ + "; PATH=" + dir_ + ":$PATH HOME=" + dir_ +
                   " fish -c 'source script; complete -C \"tutti jobs s\"; complete -C \"tutti job show \"' >said 2>&1")
                      .c_str()),
      0);
  std::ifstream in(dir_ + "/said");
  const std::string said{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(said, "show\nshop\n");
}

TEST(CompletionScript, OtherShellsAreRefused) {
  EXPECT_EQ(completion_script("tcsh", kWords), "");
}

}  // namespace
}  // namespace tutti::cli
