#include "sys/nft.h"

#include <nftables/libnftables.h>

#include <algorithm>

namespace tutti::sys {
namespace {

bool plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

std::string first_line(std::string text) {
  size_t end = text.find('\n');
  if (end != std::string::npos) text.resize(end);
  return text;
}

// key (and value) of one port in its map
std::string element(const PublishedPort& port, bool with_value) {
  std::string text = std::to_string(port.host);
  if (with_value) text += " : " + to_text(port.address) + " . " + std::to_string(port.container);
  return text;
}

}  // namespace

std::string nft_name(std::string_view text) {
  std::string name(text.substr(0, 63));
  std::replace_if(name.begin(), name.end(), [](char c) { return !plain(c); }, '_');
  return name;
}

void NftTable::Free::operator()(nft_ctx* context) const {
  nft_ctx_free(context);
}
NftTable::~NftTable() = default;

Result<std::unique_ptr<NftTable>> NftTable::open(Options options) {
  if (options.table.empty() || !std::all_of(options.table.begin(), options.table.end(), plain)) {
    return fail(ErrorCode::invalid, "nft table name '" + options.table + "' must be letters, digits and '_'");
  }
  if (options.bridge.empty() || options.bridge.find_first_of("\" \n") != std::string::npos) {
    return fail(ErrorCode::invalid, "bridge name '" + options.bridge + "' cannot be used in rules");
  }
  nft_ctx* context = nft_ctx_new(NFT_CTX_DEFAULT);
  if (!context) return fail(ErrorCode::unsupported, "nftables: no netlink socket; is NF_TABLES in this kernel?");
  std::unique_ptr<NftTable> table(new NftTable(std::move(options), context));
  nft_ctx_buffer_output(context);
  nft_ctx_buffer_error(context);
  return table;
}

Result<std::string> NftTable::run(const std::string& batch, std::string_view what) {
  std::lock_guard lock(mutex_);
  int status = nft_run_cmd_from_buffer(context_.get(), batch.c_str());
  // Reading a buffer also empties it, so both are read whatever happened.
  std::string output = nft_ctx_get_output_buffer(context_.get());
  std::string error = nft_ctx_get_error_buffer(context_.get());
  if (status == 0) return output;
  std::string line = first_line(error);
  ErrorCode code = ErrorCode::io;
  if (line.find("No such file") != std::string::npos) code = ErrorCode::not_found;
  if (line.find("File exists") != std::string::npos) code = ErrorCode::conflict;
  if (line.find("not permitted") != std::string::npos || line.find("not supported") != std::string::npos) {
    code = ErrorCode::unsupported;
    line += " (needs root and NF_TABLES with nat, masquerade and fib in the kernel)";
  }
  return fail(code, "nftables: " + std::string(what) + " in table " + options_.table + ": " + line);
}

std::string NftTable::elements(std::string_view verb, const std::vector<PublishedPort>& ports) const {
  std::string batch;
  for (bool udp : {false, true}) {
    std::string list;
    for (const PublishedPort& port : ports) {
      if (port.udp == udp) list += (list.empty() ? "" : ", ") + element(port, verb != "delete");
    }
    if (list.empty()) continue;
    batch += std::string(verb) + " element ip " + options_.table + (udp ? " udp_ports" : " tcp_ports") + " { " + list +
             " }\n";
  }
  return batch;
}

Status NftTable::rebuild(const std::vector<PublishedPort>& ports) {
  const std::string& table = options_.table;
  const std::string bridge = "\"" + options_.bridge + "\"";
  const std::string subnet = to_text(options_.subnet);
  const std::string dnat =
      "    fib daddr type local dnat ip to tcp dport map @tcp_ports\n"
      "    fib daddr type local dnat ip to udp dport map @udp_ports\n";
  // "add" first, so that "delete" finds something on a fresh kernel too.
  std::string batch = "add table ip " + table + "\ndelete table ip " + table + "\ntable ip " + table + " {\n";
  for (const char* map : {"tcp_ports", "udp_ports"}) {
    batch += std::string("  map ") + map + " { type inet_service : ipv4_addr . inet_service; }\n";
  }
  batch +=
      "  chain guard {\n    type filter hook prerouting priority raw; policy accept;\n"
      "    iifname " +
      bridge + " ip daddr 127.0.0.0/8 drop\n  }\n";
  batch += "  chain prerouting {\n    type nat hook prerouting priority dstnat; policy accept;\n" + dnat + "  }\n";
  batch += "  chain output {\n    type nat hook output priority -100; policy accept;\n" + dnat + "  }\n";
  batch +=
      "  chain postrouting {\n    type nat hook postrouting priority srcnat; policy accept;\n"
      "    ip saddr " +
      subnet + " oifname != " + bridge +
      " masquerade\n"
      "    ip saddr 127.0.0.0/8 oifname " +
      bridge +
      " masquerade\n"
      "    ip saddr " +
      subnet + " oifname " + bridge + " ct status dnat masquerade\n  }\n";
  batch +=
      "  chain forward {\n    type filter hook forward priority filter; policy accept;\n"
      "    iifname " +
      bridge + " accept\n    oifname " + bridge + " accept\n  }\n}\n";
  batch += elements("add", ports);
  return run(batch, "make the rules").map([](const std::string&) {});
}

Status NftTable::add(const std::vector<PublishedPort>& ports) {
  if (ports.empty()) return {};
  // "create", not "add": adding what is there with another value must fail.
  return run(elements("create", ports), "publish ports").map([](const std::string&) {});
}

Status NftTable::remove(const std::vector<PublishedPort>& ports) {
  if (ports.empty()) return {};
  return run(elements("delete", ports), "take published ports away").map([](const std::string&) {});
}

Status NftTable::remove_table() {
  return run("add table ip " + options_.table + "\ndelete table ip " + options_.table + "\n", "remove the rules")
      .map([](const std::string&) {});
}

Result<std::string> NftTable::list() {
  return run("list table ip " + options_.table + "\n", "list the rules");
}

}  // namespace tutti::sys
