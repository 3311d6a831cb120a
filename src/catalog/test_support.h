#pragma once
// For the tests of this folder: a folder that goes away, a store in it, and requests without a server.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <condition_variable>
#include <deque>
#include <fstream>
#include <mutex>

#include "catalog/distribution.h"
#include "sys/file.h"

namespace tutti::catalog {

class TempFolder {
 public:
  TempFolder() {
    char name[] = "/tmp/tutti-catalog-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~TempFolder() { (void)sys::remove_tree(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline void write_text(const std::string& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

// The body of one request in pieces, as the server would give it; an error after them when `broken`.
class FakeResponder final : public net::Responder, public net::BodyReader {
 public:
  std::deque<std::string> pieces;
  bool broken = false;
  bool streamed = false;

  void send(net::Response response) override {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(answered_) << "answered twice";
    answered_ = true;
    response_ = std::move(response);
    wake_.notify_all();
  }
  std::shared_ptr<net::BodyWriter> stream(net::Response, size_t) override { return nullptr; }
  void websocket(std::function<void(Result<std::shared_ptr<net::WebSocket>>)>, size_t) override {}
  net::BodyReader* body() override { return streamed ? this : nullptr; }
  void read(std::function<void(Result<std::string>)> piece) override {
    if (pieces.empty()) return broken ? piece(fail(ErrorCode::io, "peer is gone")) : piece(std::string());
    std::string next = std::move(pieces.front());
    pieces.pop_front();
    piece(std::move(next));
  }
  net::Response wait() {
    std::unique_lock lock(mutex_);
    bool in_time = wake_.wait_for(lock, std::chrono::seconds(20), [&] { return answered_; });
    EXPECT_TRUE(in_time) << "no answer";
    return response_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool answered_ = false;
  net::Response response_;
};

inline std::string header_of(const net::Response& response, const std::string& name) {
  for (const auto& [key, value] : response.headers) {
    if (key == name) return value;
  }
  return {};
}

// What a client would have read: the body, or the part of the file.
inline std::string bytes_of(const net::Response& response) {
  if (response.file.empty()) return response.body;
  std::string all = sys::read_file(response.file, 1u << 30).value();
  return all.substr(response.file_offset, response.file_length);
}

// An image of one plain layer; what its parts are.
struct SmallImage {
  std::string layer, config, manifest;
  explicit SmallImage(const std::string& content, const std::string& extra = "")
      : layer(content),
        config(R"({"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[")" + digest_of(content) +
               R"("]}})") {
    manifest = R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":)"
               R"("application/vnd.oci.image.config.v1+json","digest":")" +
               digest_of(config) + R"(","size":)" + std::to_string(config.size()) +
               R"(},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":")" + digest_of(layer) +
               R"(","size":)" + std::to_string(layer.size()) + "}]" + extra + "}";
  }
};

}  // namespace tutti::catalog
