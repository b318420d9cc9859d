#pragma once

#include <string>

namespace segment::yaml {

/// Text as it stands in quotes, and where it ended.
struct Quoted {
    std::string text;
    std::size_t end;  ///< behind the closing quote
};

/// Reads text in single or double quotes, with YAML's escapes in the latter.
///
/// @param at where the opening quote stands.
/// @throws std::invalid_argument, with a reason, for text without end, and for an unknown escape.
Quoted read_quoted(const std::string& line, std::size_t at);

/// Where plain text ends that starts at `at`: before a comment, the colon of a key, or in brackets before `,` and
/// brackets. Spaces at the end are not part of it.
std::size_t end_of_plain(const std::string& line, std::size_t at, bool in_brackets);

}  // namespace segment::yaml
