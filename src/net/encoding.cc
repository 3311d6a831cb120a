// Percent encoding, base64, endpoints and request targets: text only.

#include <array>
#include <charconv>
#include <optional>

#include "net/http.h"
#include "net/target.h"

namespace tutti::net {

namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Nothing for an encoding that is cut short or not hex.
std::optional<std::string> decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out += ' ';
    } else if (text[i] != '%') {
      out += text[i];
    } else {
      if (i + 2 >= text.size()) return std::nullopt;
      int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      out += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return out;
}

bool has_control(std::string_view text) {
  for (char c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return true;
  return false;
}

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string percent_encode(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (char c : text) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                 c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      auto byte = static_cast<unsigned char>(c);
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

std::string base64_encode(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (k < n ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) out += k <= n ? kBase64[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::string base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return {};
  std::string out;
  for (size_t i = 0; i < text.size(); i += 4) {
    uint32_t group = 0;
    size_t padding = 0;
    for (size_t k = 0; k < 4; ++k) {
      char c = text[i + k];
      size_t value = kBase64.find(c);
      if (c == '=' && i + 4 == text.size() && k >= 2) {
        ++padding;
        value = 0;
      } else if (padding > 0 || value == std::string_view::npos) {
        return {};
      }
      group = group << 6 | static_cast<uint32_t>(value);
    }
    for (size_t k = 0; k + padding < 3; ++k) out += static_cast<char>(group >> (16 - 8 * k) & 255);
  }
  return out;
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  auto bad = [text](std::string_view why) {
    return fail(ErrorCode::invalid, "'" + std::string(text) + "' is not an address: " + std::string(why) +
                                        " (write https://host:port, host:port or [::1]:port)");
  };
  std::string_view rest = text;
  bool scheme = rest.starts_with("https://");
  if (scheme) rest.remove_prefix(8);
  if (rest.starts_with("http://")) return bad("tutti speaks HTTPS only");
  if (rest.ends_with('/')) rest.remove_suffix(1);
  Endpoint out;
  std::string_view port;
  bool has_port = false;
  if (rest.starts_with('[')) {
    size_t end = rest.find(']');
    if (end == std::string_view::npos) return bad("']' is missing");
    out.host = rest.substr(1, end - 1);
    rest.remove_prefix(end + 1);
    has_port = rest.starts_with(':');
    if (!rest.empty() && !has_port) return bad("only ':port' may follow ']'");
    if (has_port) port = rest.substr(1);
  } else {
    size_t colon = rest.find(':');
    if (colon != std::string_view::npos && rest.find(':', colon + 1) != std::string_view::npos)
      return bad("an IPv6 address needs brackets");
    has_port = colon != std::string_view::npos;
    out.host = rest.substr(0, colon);
    if (has_port) port = rest.substr(colon + 1);
  }
  if (out.host.empty() || has_control(out.host) || out.host.find_first_of(" /?#@%\\") != std::string::npos)
    return bad("the host is missing or holds a character it cannot");
  if (!has_port && !scheme) return bad("the port is missing");
  if (!has_port) port = "443";
  auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (error != std::errc() || end != port.data() + port.size() || out.port == 0) return bad("the port is 1 to 65535");
  return out;
}

Status parse_target(std::string_view target, Request& out) {
  std::string_view rest = target;
  if (rest.starts_with("https://") || rest.starts_with("http://")) {  // absolute form, as to a proxy
    rest.remove_prefix(rest.find("//") + 2);
    size_t slash = rest.find('/');
    rest = slash == std::string_view::npos ? std::string_view("/") : rest.substr(slash);
  }
  if (rest == "*") {
    out.path = "*";
    return {};
  }
  if (!rest.starts_with('/')) return fail(ErrorCode::invalid, "the request's target must begin with '/'");
  if (has_control(rest) || rest.find(' ') != std::string_view::npos)
    return fail(ErrorCode::invalid, "the request's target holds a control character");
  rest = rest.substr(0, rest.find('#'));
  size_t question = rest.find('?');
  auto path = decode(rest.substr(0, question), false);
  if (!path || has_control(*path))
    return fail(ErrorCode::invalid, "the request's path has a bad percent encoding or a control character");
  out.path.clear();
  for (size_t at = 0; at < path->size();) {
    size_t end = std::min(path->find('/', at), path->size());
    std::string_view segment = std::string_view(*path).substr(at, end - at);
    if (segment == "..") return fail(ErrorCode::invalid, "the request's path holds '..'");
    if (!segment.empty() && segment != ".") out.path.append("/").append(segment);
    at = end + 1;
  }
  bool folder = path->ends_with('/') || path->ends_with("/.");
  if (out.path.empty() || folder) out.path += '/';
  std::string_view query = question == std::string_view::npos ? std::string_view() : rest.substr(question + 1);
  while (!query.empty()) {
    size_t end = std::min(query.find('&'), query.size());
    std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (pair.empty()) continue;
    size_t equals = std::min(pair.find('='), pair.size());
    auto key = decode(pair.substr(0, equals), true);
    auto value = decode(equals < pair.size() ? pair.substr(equals + 1) : std::string_view(), true);
    if (!key || !value) return fail(ErrorCode::invalid, "the request's query has a bad percent encoding");
    out.query[std::move(*key)] = std::move(*value);
  }
  return {};
}

}  // namespace tutti::net
