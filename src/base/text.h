#pragma once
// Small work on text: splitting, names, and the nearest right word for a wrong one. Pure.

#include <string>
#include <string_view>
#include <vector>

namespace tutti {

std::vector<std::string> split(std::string_view text, char separator);  // empty parts are kept; "" gives one
std::string_view trim(std::string_view text);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
std::string to_lower(std::string_view text);

// [a-z0-9]([a-z0-9-]*[a-z0-9])?, at most limits::kNameLengthMax: what jobs, tasks, nodes and projects are called.
bool is_name(std::string_view text);

// Damerau-Levenshtein distance with adjacent transpositions (optimal string alignment).
size_t edit_distance(std::string_view a, std::string_view b);
// The candidate that was probably meant; empty when none is near (more than a third of the word off).
std::string_view nearest_word(std::string_view word, const std::vector<std::string_view>& candidates);

}  // namespace tutti
