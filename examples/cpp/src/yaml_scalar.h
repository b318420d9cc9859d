#pragma once

#include <string>

namespace segment::yaml {

/// The content of a quoted string, and where it ends.
struct Quoted {
    std::string text;
    std::size_t end;  ///< behind the closing quote
};

/// Reads text in single or double quotes, with YAML's escapes in the latter.
///
/// @param at position of the opening quote.
/// @throws std::invalid_argument, with a reason, for unterminated text and unknown escapes.
Quoted read_quoted(const std::string& line, std::size_t at);

/// The end of the plain text that starts at `at`: before a comment, the colon of a key, or, in brackets, `,` and
/// brackets. Trailing spaces are not part of it.
std::size_t end_of_plain(const std::string& line, std::size_t at, bool in_brackets);

}  // namespace segment::yaml
