#include "app/credentials.h"

#include "sys/file.h"

namespace tutti::app {

Result<net::KeyPair> load_authority(const std::string& data_dir, const std::string& pool_name, Time now) {
  const std::string certificate_path = data_dir + "/authority.pem";
  const std::string key_path = data_dir + "/authority.key";
  TUTTI_CHECK(sys::make_dirs(data_dir, 0700));
  // The key is written first: a certificate without its key cannot be left behind by a crash in between.
  if (sys::exists(certificate_path)) {
    net::KeyPair pair;
    TUTTI_TRY(pair.certificate, sys::read_file(certificate_path));
    TUTTI_TRY(pair.private_key, sys::read_file(key_path));
    return pair;
  }
  TUTTI_TRY(net::KeyPair pair, net::make_authority("tutti " + pool_name, now, seconds(10LL * 365 * 24 * 3600)));
  TUTTI_CHECK(sys::write_file_atomic(key_path, pair.private_key, {0600, true}));
  TUTTI_CHECK(sys::write_file_atomic(certificate_path, pair.certificate, {0644, true}));
  return pair;
}

bool BootstrapFile::exists() const {
  return sys::exists(path_);
}

Status BootstrapFile::write(const std::string& credential) {
  return sys::write_file_atomic(path_, credential + "\n", {0600, true});
}

void BootstrapFile::remove() {
  (void)sys::remove_tree(path_);
}

}  // namespace tutti::app
