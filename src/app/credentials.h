#pragma once
// The manager's own secrets on disk: its certificate authority and the bootstrap credential.
//
// Files of the data directory, each mode 0600, written whole by rename: authority.pem, authority.key,
// bootstrap-credential. Blocking; used at start on the main thread, and from the manager when the bootstrap is used.

#include <string>

#include "base/result.h"
#include "base/time.h"
#include "manager/manager.h"
#include "net/authority.h"

namespace tutti::app {

// The authority of this pool: read, or made at the first start. Errors name the file.
Result<net::KeyPair> load_authority(const std::string& data_dir, const std::string& pool_name, Time now);

class BootstrapFile final : public manager::Bootstrap {
 public:
  explicit BootstrapFile(const std::string& data_dir) : path_(data_dir + "/bootstrap-credential") {}
  bool exists() const override;
  Status write(const std::string& credential) override;
  void remove() override;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace tutti::app
