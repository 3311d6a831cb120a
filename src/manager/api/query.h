#pragma once
// What stands behind '?': every word that some route takes, and whether a request's words are those of its route.
//
// A parameter that is not known is refused, never passed over: who asked for some rows and got all of them might go on
// to delete them. Pure.

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tutti::manager {

struct Route;

enum class QueryType : uint8_t { text, number, truth };  // truth: alone, or 1, 0, true, false

struct QueryWord {
  std::string_view name;
  QueryType type;
  std::string_view what;  // for people
  std::string_view only;  // the one value that it may have; empty: any
};

// Null for a word that no route takes.
const QueryWord* query_word(std::string_view name);

// `invalid`, naming the parameter, the route and what that takes; a detail for each that is wrong.
Status check_query(const Route& route, const std::map<std::string, std::string>& query);

}  // namespace tutti::manager
