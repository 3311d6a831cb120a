#include "catalog/fetch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/random.h"
#include "catalog/distribution_internal.h"
#include "catalog/import_internal.h"
#include "model/oci.h"
#include "net/http.h"
#include "sys/file.h"
#include "sys/process.h"

namespace tutti::catalog {
namespace {

constexpr size_t kOutputBytesMax = 1u << 20;

// A folder that is gone when we are.
class WorkFolder {
 public:
  explicit WorkFolder(std::string path) : path_(std::move(path)) {}
  ~WorkFolder() { (void)sys::remove_tree(path_); }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Finished {
  int exit_code = 0;
  std::string output;
};

// Runs it with both outputs in a file; killed when asked to stop or too slow.
Result<Finished> run(std::vector<std::string> argv, const WorkFolder& folder, Duration timeout,
                     const std::stop_token& stop) {
  std::string log = folder.path() + "/output";
  sys::UniqueFd out(open(log.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (!out) return fail_errno("create " + log, errno);
  sys::SpawnOptions spawn;
  spawn.argv = std::move(argv);
  spawn.inherit_env = true;  // proxies and the site's own registry configuration
  spawn.fds = {{out.get(), 1}, {out.get(), 2}};
  TUTTI_TRY(int pid, sys::spawn(spawn));
  auto pidfd = sys::pidfd_open(pid);
  auto end_it = [&] {
    kill(pid, SIGKILL);  // our child, not yet reaped: the number is still its
    sys::reap(pid);
  };
  if (!pidfd) {
    end_it();
    return tl::make_unexpected(std::move(pidfd).error());
  }
  SystemClock clock;
  BootTime deadline = clock.boot_now() + timeout;
  while (!sys::pidfd_wait(pidfd->get(), milliseconds(100))) {
    if (stop.stop_requested()) {
      end_it();
      return fail(ErrorCode::cancelled, "the fetch was cancelled");
    }
    if (clock.boot_now() > deadline) {
      end_it();
      return fail(ErrorCode::timeout, "skopeo did not end within " + format_duration(timeout));
    }
  }
  Finished finished;
  finished.exit_code = sys::reap(pid).value_or(-1);
  finished.output = sys::read_file(log, kOutputBytesMax).value_or("");
  return finished;
}

bool says(const std::string& lower, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return lower.find(word) != std::string::npos; });
}

// The last line holds the reason; skopeo writes it as time="…" level=fatal msg="…".
std::string last_words(const std::string& output) {
  std::string text = output.substr(0, output.find_last_not_of(" \n\r\t") + 1);
  text = text.substr(text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
  size_t at = text.find("msg=\"");
  if (at != std::string::npos) text = text.substr(at + 5, text.size() - at - 6);
  std::string clean;
  for (size_t i = 0; i < text.size() && clean.size() < 600; ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && text[i + 1] == '"') continue;
    clean += text[i];
  }
  return clean;
}

Result<std::string> find_skopeo(const FetchOptions& options, const std::string& for_what) {
  std::string program =
      options.skopeo.find('/') == std::string::npos ? sys::find_program(options.skopeo) : options.skopeo;
  if (program.empty() || access(program.c_str(), X_OK) != 0) {
    return fail(ErrorCode::unsupported,
                for_what + " needs skopeo, which is not installed here: apt-get install skopeo");
  }
  return program;
}

Result<std::string> write_auth_file(const WorkFolder& folder, const std::string& registry,
                                    const Credentials& credentials) {
  std::string file = folder.path() + "/auth.json";
  std::string secret = net::base64_encode(credentials.user + ":" + credentials.password);
  std::string key = registry == "docker.io" ? "https://index.docker.io/v1/" : registry;
  sys::WriteOptions only_us;
  only_us.mode = 0600;
  TUTTI_CHECK(sys::write_file_atomic(file, "{\"auths\":{" + json_text(key) + ":{\"auth\":" + json_text(secret) + "}}}",
                                     only_us));
  return file;
}

// skopeo's name of an image elsewhere: docker.io's own repositories stand under library/.
std::string docker_name(const oci::Reference& parsed, const std::string& registry) {
  std::string repository = parsed.repository;
  if (registry == "docker.io" && repository.find('/') == std::string::npos) repository = "library/" + repository;
  // skopeo refuses a tag and a digest together; the digest is what counts.
  return "docker://" + registry + "/" + repository + (parsed.digest.empty() ? ":" + parsed.tag : "@" + parsed.digest);
}

}  // namespace

Error explain_skopeo(const std::string& output, int exit_code, const std::string& reference,
                     const std::string& registry, const std::string& what) {
  std::string lower = output;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  auto error = [&](ErrorCode code, const std::string& why) {
    return Error{code, what + " " + reference + ": " + why + " (" + last_words(output) + ")", {}, 0};
  };
  // A number alone says nothing: ports and times hold 403 and 404 too.
  if (says(lower, {"unauthorized", "authentication required", "requested access to the resource is denied",
                   "denied:", "403 forbidden", "403 (forbidden)", "statuscode: 403", "status code: 403"})) {
    return error(ErrorCode::forbidden, registry + " wants other credentials, or has no such repository");
  }
  if (says(lower, {"manifest unknown", "name unknown", "name_unknown", "not found", "no image found in manifest list",
                   "statuscode: 404", "status code: 404"})) {
    return error(ErrorCode::not_found, registry + " has no such image for this machine; check name and tag");
  }
  if (says(lower, {"x509", "certificate", "http response to https"})) {
    return error(ErrorCode::unavailable,
                 "the certificate of " + registry + " is not trusted; install its authority or list it as insecure");
  }
  if (says(lower, {"no such host", "connection refused", "i/o timeout", "dial tcp", "network is unreachable",
                   "tls handshake", "eof", "pinging container registry"})) {
    Error found =
        error(ErrorCode::unavailable, registry + " cannot be reached; check its name, the network and the proxy");
    found.retry_after_ms = 10'000;
    return found;
  }
  if (says(lower, {"toomanyrequests", "too many requests"}))
    return error(ErrorCode::too_many, registry + " limits how often it is asked; log in, or wait");
  return error(ErrorCode::io, "skopeo failed with exit code " + std::to_string(exit_code));
}

Result<Fetched> fetch_with_skopeo(ContentStore& store, const std::string& reference, const Credentials& credentials,
                                  const FetchOptions& options, std::stop_token stop,
                                  const std::function<void(std::string)>& progress) {
  TUTTI_TRY(oci::Reference parsed, oci::parse_reference(reference));
  std::string registry = parsed.registry.empty() ? "docker.io" : parsed.registry;
  const std::string source = docker_name(parsed, registry);
  const std::string& repository = parsed.repository;

  TUTTI_TRY(const std::string program, find_skopeo(options, "fetching " + reference + " from " + registry));
  WorkFolder folder(options.work_dir + "/fetch-" + secure_random_hex(8));
  TUTTI_CHECK(sys::make_dirs(folder.path(), 0700));
  std::vector<std::string> argv{program};
  std::string architecture = options.architecture.empty() ? machine_architecture() : options.architecture;
  argv.insert(argv.end(), {"--override-os", "linux", "--override-arch", architecture});
  if (!sys::exists("/etc/containers/policy.json"))
    argv.push_back("--insecure-policy");  // no policy: the site has made none
  argv.insert(argv.end(), {"copy", "--quiet"});
  const auto& insecure = options.insecure_registries;
  if (std::find(insecure.begin(), insecure.end(), registry) != insecure.end()) argv.push_back("--src-tls-verify=false");
  if (!credentials.user.empty()) {
    TUTTI_TRY(std::string file, write_auth_file(folder, registry, credentials));
    argv.insert(argv.end(), {"--src-authfile", file});
  }
  argv.insert(argv.end(), {source, "oci:" + folder.path() + "/layout:fetched"});
  if (progress) progress("copying " + repository + " from " + registry);
  auto finished = run(std::move(argv), folder, options.timeout, stop);
  if (!finished) return tl::make_unexpected(std::move(finished).error().in("fetch " + reference));
  if (finished->exit_code != 0)
    return tl::make_unexpected(explain_skopeo(finished->output, finished->exit_code, reference, registry));
  if (progress) progress("verifying " + repository);
  auto images = import_layout_directory(store, folder.path() + "/layout", stop);
  if (!images) return tl::make_unexpected(std::move(images).error().in("fetch " + reference));
  if (images->size() != 1)
    return fail(ErrorCode::internal,
                "fetch " + reference + ": skopeo wrote " + std::to_string(images->size()) + " images instead of one");
  Fetched fetched{reference, registry, std::move(images->front())};
  fetched.image.reference = reference;
  return fetched;
}

Status push_with_skopeo(const ContentStore& store, const std::string& digest, const std::string& target,
                        const Credentials& credentials, const FetchOptions& options, std::stop_token stop) {
  TUTTI_TRY(oci::Reference parsed, oci::parse_reference(target));
  if (parsed.registry.empty() || !parsed.digest.empty()) {
    return fail(ErrorCode::invalid, "push goes to REGISTRY/NAME[:TAG], not to '" + target +
                                        "': name the registry, like registry.example.com/app:1");
  }
  TUTTI_TRY(const std::string program, find_skopeo(options, "pushing to " + parsed.registry));
  WorkFolder folder(options.work_dir + "/push-" + secure_random_hex(8));
  TUTTI_CHECK(sys::make_dirs(folder.path(), 0700));
  TUTTI_CHECK(export_oci_layout(store, digest, "pushed", folder.path() + "/layout"));
  std::vector<std::string> argv{program};
  if (!sys::exists("/etc/containers/policy.json")) argv.push_back("--insecure-policy");
  argv.insert(argv.end(), {"copy", "--quiet", "--all", "--preserve-digests"});
  const auto& insecure = options.insecure_registries;
  if (std::find(insecure.begin(), insecure.end(), parsed.registry) != insecure.end())
    argv.push_back("--dest-tls-verify=false");
  if (!credentials.user.empty()) {
    TUTTI_TRY(std::string file, write_auth_file(folder, parsed.registry, credentials));
    argv.insert(argv.end(), {"--dest-authfile", file});
  }
  argv.insert(argv.end(), {"oci:" + folder.path() + "/layout:pushed", docker_name(parsed, parsed.registry)});
  auto finished = run(std::move(argv), folder, options.timeout, stop);
  if (!finished) return tl::make_unexpected(std::move(finished).error().in("push " + target));
  if (finished->exit_code != 0)
    return tl::make_unexpected(explain_skopeo(finished->output, finished->exit_code, target, parsed.registry, "push"));
  return {};
}

}  // namespace tutti::catalog
