#include <fcntl.h>

#include <cerrno>
#include <mutex>

#include "base/limits.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "worker/images.h"

namespace tutti::worker {
namespace {

constexpr Duration kIdle = seconds(30);  // no byte for so long: the connection is dead

// A client carries one call at a time; idle ones are kept for the next layer.
class HttpFetcher final : public ImageFetcher {
 public:
  HttpFetcher(net::Endpoint endpoint, net::ClientTls tls) : endpoint_(std::move(endpoint)), tls_(std::move(tls)) {}

  Result<std::string> manifest(const std::string& repository, const std::string& digest,
                               std::stop_token stop) override {
    std::string text;
    TUTTI_CHECK(get("/v2/" + repository + "/manifests/" + digest, limits::kManifestBytesMax, stop,
                    [&](std::string_view bytes) -> Status {
                      text += bytes;
                      return {};
                    }));
    return text;
  }

  Status blob_to_file(const std::string& repository, const std::string& digest, const std::string& path,
                      uint64_t bytes_max, std::stop_token stop) override {
    sys::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) return fail_errno("make " + path, errno);
    return get("/v2/" + repository + "/blobs/" + digest, bytes_max, stop,
               [&](std::string_view bytes) { return sys::write_all(fd.get(), bytes); });
  }

 private:
  Status get(const std::string& path, uint64_t bytes_max, std::stop_token stop,
             const std::function<Status(std::string_view)>& take) {
    TUTTI_TRY(std::unique_ptr<net::Client> client, borrow());
    net::Request request;
    request.method = "GET";
    request.target = path;
    request.path = path;
    request.headers["accept"] = std::string(oci::kManifestType) + ", " + std::string(oci::kIndexType) + ", " +
                                std::string(oci::kDockerManifestType) + ", " + std::string(oci::kDockerListType) +
                                ", */*";
    uint64_t bytes = 0;
    Status taken;
    auto each = [&](std::string_view piece) {
      bytes += piece.size();
      if (bytes > bytes_max) {
        taken =
            fail(ErrorCode::too_large, path + ": more than the " + std::to_string(bytes_max) + " bytes it should have");
      } else {
        taken = take(piece);
      }
      return taken.has_value() && !stop.stop_requested();
    };
    auto answer = [&] {
      std::stop_callback interrupt(stop, [&] { client->interrupt(); });
      return client->stream(request, each, kIdle);
    }();
    if (stop.stop_requested()) return fail(ErrorCode::cancelled, path + ": stopped");
    TUTTI_CHECK(taken);
    if (!answer) return tl::make_unexpected(std::move(answer).error().in("fetch " + path));
    if (answer->status == 200) {
      give_back(std::move(client));
      return {};
    }
    ErrorCode code = ErrorCode::unavailable;
    if (answer->status == 404) code = ErrorCode::not_found;
    if (answer->status == 401 || answer->status == 403) code = ErrorCode::forbidden;
    return fail(code, "fetch " + path + " from " + endpoint_.host + ":" + std::to_string(endpoint_.port) + ": status " +
                          std::to_string(answer->status) +
                          (code == ErrorCode::not_found ? ", it is not in the catalog" : ""));
  }

  Result<std::unique_ptr<net::Client>> borrow() {
    {
      std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        auto client = std::move(idle_.back());
        idle_.pop_back();
        return client;
      }
    }
    return net::make_client(endpoint_, tls_);
  }
  void give_back(std::unique_ptr<net::Client> client) {
    std::lock_guard lock(mutex_);
    if (idle_.size() < 4) idle_.push_back(std::move(client));
  }

  const net::Endpoint endpoint_;
  const net::ClientTls tls_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<net::Client>> idle_;
};

}  // namespace

std::unique_ptr<ImageFetcher> make_http_fetcher(net::Endpoint endpoint, net::ClientTls tls) {
  return std::make_unique<HttpFetcher>(std::move(endpoint), std::move(tls));
}

}  // namespace tutti::worker
