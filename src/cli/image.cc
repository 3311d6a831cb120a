// Images: into the catalog (archive, folder, URL, this machine's container tools), out of it, and what it no longer
// needs.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "base/random.h"
#include "base/text.h"
#include "cli/say.h"
#include "cli/session.h"

namespace tutti::cli {
namespace {

const std::vector<Column> kImageColumns = {{"IMAGE", "name"},
                                           {"DIGEST", "~short:status.digest"},
                                           {"SIZE", "~bytes:status.size"},
                                           {"ARCH", "~words:status.architectures"},
                                           {"SOURCE", "status.source"},
                                           {"AGE", "~age:updated"}};

// A folder of our own under /tmp that is gone when we are.
class Scratch {
 public:
  Scratch() {
    char name[] = "/tmp/tutti-image-XXXXXX";
    if (::mkdtemp(name) != nullptr) path_ = name;
  }
  ~Scratch() {
    for (const std::string& file : files_) ::unlink(file.c_str());
    if (!path_.empty()) ::rmdir(path_.c_str());
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) {
    files_.push_back(path_ + "/" + name);
    return files_.back();
  }

 private:
  std::string path_;
  std::vector<std::string> files_;
};

// Its exit code; 127 when there is no such program.
int run_program(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execvp(argv[0], argv.data());
    std::_Exit(127);
  }
  int status = 0;
  if (pid < 0 || ::waitpid(pid, &status, 0) < 0) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool write_private(const std::string& file, const std::string& text) {
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  return ::close(fd) == 0 && written;
}

bool is_url(const std::string& text) {
  return text.starts_with("http://") || text.starts_with("https://");
}

// The archive behind the URL, on this machine: the pool is never made to ask others for something.
int download(const Session& s, const std::string& url, const std::string& file) {
  std::vector<std::string> words = {"curl",          "--fail",      "--location",   "--proto", "=http,https",
                                    "--proto-redir", "=http,https", "--show-error", "--retry", "2",
                                    "--output",      file};
  words.emplace_back(s.flag("quiet") || ::isatty(STDERR_FILENO) == 0 ? "--silent" : "--progress-bar");
  words.insert(words.end(), {"--", url});
  const int code = run_program(words);
  if (code == 0) return 0;
  if (code == 127)
    return complain({ErrorCode::unsupported,
                     "importing from a URL needs curl, which is not installed here: apt-get install curl",
                     {},
                     0});
  return complain(
      {code == 22 ? ErrorCode::not_found : ErrorCode::io,
       "curl could not fetch " + url + " (its exit code is " + std::to_string(code) + "; it said why above)",
       {},
       0});
}

int import_image(Session& s) {
  std::string file = s.words[0];
  Scratch scratch;
  std::string query = "?reference=" + net::percent_encode(s.words[1]);
  struct stat info{};
  if (is_url(file)) {
    const std::string fetched = scratch.file("fetched");
    if (int bad = download(s, file, fetched)) return bad;
    file = fetched;
  } else if (::stat(file.c_str(), &info) != 0) {
    return complain({ErrorCode::not_found, "cannot read " + file, {}, 0});
  } else if (S_ISDIR(info.st_mode)) {
    const std::string packed = scratch.file("packed.tar");
    if (::access((file + "/oci-layout").c_str(), R_OK) != 0) query += "&kind=rootfs";
    if (run_program({"tar", "-C", file, "-cf", packed, "."}) != 0)
      return complain({ErrorCode::io, "tar could not pack " + file, {}, 0});
    file = packed;
  }
  if (s.flag("rootfs")) query += "&kind=rootfs";
  for (const char* key : {"entrypoint", "cmd"}) {
    if (!s.option(key).empty()) query += std::string("&") + key + "=" + net::percent_encode(s.option(key));
  }
  auto http = s.client();
  if (!http) return complain(http.error());
  net::Request request = s.request("POST", "/v1/images:import" + query);
  request.headers["content-type"] = "application/x-tar";
  auto answer = (*http)->upload(request, file, seconds(3600));
  if (!answer) return complain(answer.error());
  if (answer->status >= 400) return complain(problem_of(*answer));
  auto object = Json::parse(answer->body);
  if (object && !s.flag("quiet"))
    say(stdout, "%s %s\n", (*object)["name"].text().c_str(), (*object)["status.digest"].text().c_str());
  return 0;
}

// An image of this machine's docker or podman (or any source skopeo knows) into the catalog.
int push_local(Session& s, const std::string& image) {
  static const std::vector<std::string> transports = {
      "docker-daemon:", "containers-storage:", "docker-archive:", "oci-archive:", "oci:", "dir:", "docker://"};
  const bool full =
      std::any_of(transports.begin(), transports.end(), [&](const std::string& t) { return image.starts_with(t); });
  const std::string name = s.option("name", full ? "" : image);
  if (name.empty()) return complain({ErrorCode::invalid, "say what to call it: --name NAME[:TAG]", {}, 0});
  const std::string source =
      full ? image : (::access("/var/run/docker.sock", R_OK) == 0 ? "docker-daemon:" : "containers-storage:") + image;
  Scratch scratch;
  const std::string auth = scratch.file("auth.json");
  const std::string key = "{\"auths\":{" + json_text(s.context.address) +
                          ":{\"auth\":" + json_text(net::base64_encode("tutti:" + s.context.token)) + "}}}";
  if (!write_private(auth, key) || !write_private(scratch.file("ca.crt"), s.context.authority))
    return complain({ErrorCode::io, "cannot write to " + scratch.path(), {}, 0});
  std::vector<std::string> words = {"skopeo"};
  if (::access("/etc/containers/policy.json", R_OK) != 0) words.emplace_back("--insecure-policy");
  words.insert(words.end(), {"copy", "--dest-authfile", auth, "--dest-cert-dir", scratch.path(), source,
                             "docker://" + s.context.address + "/" + name});
  if (s.flag("quiet")) words.insert(words.end(), "--quiet");
  const int code = run_program(words);
  if (code == 127)
    return complain(
        {ErrorCode::unsupported, "pushing needs skopeo, which is not installed here: apt-get install skopeo", {}, 0});
  return code == 0
             ? 0
             : complain(
                   {ErrorCode::io, "skopeo could not copy " + source + " to the catalog (it said why above)", {}, 0});
}

int push(Session& s) {
  if (s.words.size() < 2) return push_local(s, s.words[0]);
  std::string password;
  if (const char* set = std::getenv("TUTTI_REGISTRY_PASSWORD")) password = set;
  if (s.flag("password-stdin")) std::getline(std::cin, password);
  const std::string user = s.option("username");
  if (user.empty() != password.empty())
    return complain(
        {ErrorCode::invalid, "credentials are --username NAME and TUTTI_REGISTRY_PASSWORD or --password-stdin", {}, 0});
  return act(s, "POST", "/v1/images:push",
             "{\"reference\":" + json_text(s.words[0]) + ",\"target\":" + json_text(s.words[1]) +
                 ",\"user\":" + json_text(user) + ",\"password\":" + json_text(password) + "}");
}

}  // namespace

int image(Session& s, const std::string& verb) {
  if (verb == "list")
    return list_command(s, std::string("/v1/images?limit=1000") + (s.flag("all") ? "&all=1" : ""), kImageColumns);
  if (verb == "import") return import_image(s);
  if (verb == "prune")
    return act(s, "POST", "/v1/images:prune",
               s.option("grace").empty() ? "{}" : "{\"grace\":" + json_text(s.option("grace")) + "}");
  std::string name = s.words[0];
  if (verb == "push") return push(s);
  if (verb == "pull") return act(s, "POST", "/v1/images:pull", "{\"reference\":" + json_text(name) + "}");
  if (verb == "show") {
    auto answer = s.call("GET", path_of("/v1/images", name));
    return answer ? print_object(s, *answer) : complain(answer.error());
  }
  std::string tag = "latest";
  if (const size_t colon = name.rfind(':'); colon != std::string::npos && name.find('/', colon) == std::string::npos)
    tag = name.substr(colon + 1), name.resize(colon);
  auto answer = s.call("DELETE", path_of("/v1/images", name) + "?tag=" + net::percent_encode(tag));
  return answer ? 0 : complain(answer.error());
}

}  // namespace tutti::cli
