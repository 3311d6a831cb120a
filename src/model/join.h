#pragma once
// A worker's first call: what a token and a key are exchanged for.

#include <boost/describe.hpp>
#include <string>

namespace tutti {

struct JoinRequest {
  std::string token;    // "<id>.<secret>"; the third part, the authority's hash, stays with the worker
  std::string name;     // wanted; empty: the manager chooses
  std::string request;  // PEM signing request
};
BOOST_DESCRIBE_STRUCT(JoinRequest, (), (token, name, request))

struct JoinAnswer {
  std::string node;
  std::string name;
  std::string certificate;
  std::string authority;
  std::string worker_address;
};
BOOST_DESCRIBE_STRUCT(JoinAnswer, (), (node, name, certificate, authority, worker_address))

}  // namespace tutti
