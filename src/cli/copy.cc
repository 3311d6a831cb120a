// C05: copies in and out of an instance. A target that is a folder takes the copy under its own name; any other target
// is the copy's new name. What is copied may be secret: it passes through a folder that is ours alone. Out of an
// instance neither owners nor set-user-id come along: they are the task's word, and not its business here.
#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "cli/frames.h"
#include "cli/session.h"

namespace tutti::cli {
namespace {

namespace fs = std::filesystem;

// A folder of our own that is gone when we are. Beside the target, so that what is in it can be renamed to it.
class Scratch {
 public:
  explicit Scratch(const std::string& beside) {
    std::string name = beside + "/.tutti-cp-XXXXXX";
    if (::mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~Scratch() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

bool tar(std::vector<const char*> argv) {
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execvp("tar", const_cast<char**>(argv.data()));
    std::_Exit(127);
  }
  int status = 0;
  return pid > 0 && ::waitpid(pid, &status, 0) == pid && status == 0;
}

std::string parent_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent;
}

// The instance's path as a tar in `file`.
int fetch(Session& s, const std::string& instance, const std::string& path, const std::string& file) {
  auto http = s.client();
  if (!http) return complain(http.error());
  std::FILE* out = std::fopen(file.c_str(), "wb");
  if (out == nullptr) return complain(fail_errno("write " + file, errno).value());
  Frames frames;
  std::string error;
  auto over = (*http)->stream(
      s.request("GET", path_of("/v1/instances", instance) + "/files?path=" + net::percent_encode(path)),
      [&](std::string_view piece) {
        frames.feed(piece, [&](char channel, std::string_view bytes) {
          if (channel == kStdout && std::fwrite(bytes.data(), 1, bytes.size(), out) != bytes.size())
            error = "cannot write " + file + ": is the disk full?";
          if (channel != kControl) return;
          auto control = from_json<StreamControl>(bytes, {.allow_unknown = true});
          if (control && !control->error.empty()) error = control->error;
        });
        return true;
      },
      seconds(3600));
  std::fclose(out);
  if (!over) return complain(over.error());
  if (over->status >= 400) return complain(problem_of(*over));
  return error.empty() ? 0 : complain({ErrorCode::unprocessable, error, {}, 0});
}

int copy_out(Session& s, const std::string& instance, const std::string& path, const std::string& target) {
  std::error_code ignored;
  const bool folder = fs::is_directory(target, ignored);
  const std::string into = folder ? target : parent_of(target);
  if (!fs::is_directory(into, ignored)) return complain({ErrorCode::not_found, "there is no folder " + into, {}, 0});
  if (!folder && target.ends_with('/')) return complain({ErrorCode::not_found, "there is no folder " + target, {}, 0});
  const Scratch scratch(into);
  if (scratch.path().empty()) return complain(fail_errno("make a folder in " + into, errno).value());
  const std::string archive = scratch.path() + "/archive";
  const std::string unpacked = scratch.path() + "/unpacked";
  if (const int bad = fetch(s, instance, path, archive)) return bad;
  if (folder)
    return tar({"tar", "-C", target.c_str(), "--no-same-owner", "--no-same-permissions", "-xf", archive.c_str()}) ? 0
                                                                                                                  : 1;
  fs::create_directory(unpacked, ignored);
  if (!tar({"tar", "-C", unpacked.c_str(), "--no-same-owner", "--no-same-permissions", "-xf", archive.c_str()}))
    return 1;
  for (const fs::directory_entry& entry : fs::directory_iterator(unpacked, ignored)) {
    std::error_code failed;
    fs::rename(entry.path(), target, failed);
    if (failed) return complain({ErrorCode::io, "cannot write " + target + ": " + failed.message(), {}, 0});
  }
  return 0;
}

int copy_in(Session& s, const std::string& source, const std::string& instance, const std::string& path) {
  struct stat info{};
  if (::lstat(source.c_str(), &info) != 0) return complain(fail_errno("read " + source, errno).value());
  const Scratch scratch("/tmp");
  if (scratch.path().empty()) return complain(fail_errno("make a folder in /tmp", errno).value());
  const std::string archive = scratch.path() + "/archive";
  const std::string whole = fs::path(source).lexically_normal().string();
  const std::string name =
      whole.ends_with('/') ? fs::path(whole).parent_path().filename().string() : fs::path(whole).filename().string();
  const std::string dir = parent_of(whole.ends_with('/') ? whole.substr(0, whole.size() - 1) : whole);
  if (!tar({"tar", "-C", dir.c_str(), "-cf", archive.c_str(), "--", name.c_str()})) return 1;
  auto http = s.client();
  if (!http) return complain(http.error());
  net::Request request =
      s.request("PUT", path_of("/v1/instances", instance) + "/files?path=" + net::percent_encode(path));
  request.headers["content-type"] = "application/x-tar";
  auto answer = (*http)->upload(request, archive, seconds(3600));
  if (!answer) return complain(answer.error());
  return answer->status >= 400 ? complain(problem_of(*answer)) : 0;
}

}  // namespace

int copy(Session& s) {
  // "./a:b" and "/a:b" are files of ours.
  auto remote = [](const std::string& word) {
    return word.starts_with('/') || word.starts_with('.') ? std::string::npos : word.find(':');
  };
  const size_t from = remote(s.words[0]);
  const size_t to = remote(s.words[1]);
  if ((from == std::string::npos) == (to == std::string::npos))
    return complain({ErrorCode::invalid, "one side is INSTANCE:PATH, the other a path here", {}, 0});
  if (from != std::string::npos)
    return copy_out(s, s.words[0].substr(0, from), s.words[0].substr(from + 1), s.words[1]);
  return copy_in(s, s.words[0], s.words[1].substr(0, to), s.words[1].substr(to + 1));
}

}  // namespace tutti::cli
