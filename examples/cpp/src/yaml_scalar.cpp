#include "yaml_scalar.h"

#include <map>
#include <stdexcept>

namespace segment::yaml {

namespace {

const std::map<char, std::string> ESCAPES = {
    {'0', std::string(1, '\0')},
    {'a', "\a"},
    {'b', "\b"},
    {'t', "\t"},
    {'n', "\n"},
    {'v', "\v"},
    {'f', "\f"},
    {'r', "\r"},
    {'e', "\x1b"},
    {' ', " "},
    {'"', "\""},
    {'/', "/"},
    {'\\', "\\"},
    {'N', "\xc2\x85"},
    {'_', "\xc2\xa0"},
    {'L', "\xe2\x80\xa8"},
    {'P', "\xe2\x80\xa9"},
};
const std::map<char, std::size_t> HEXADECIMAL_DIGITS = {{'x', 2}, {'u', 4}, {'U', 8}};

void append_utf8(std::string& text, unsigned long code) {
    const auto byte = [&text](unsigned long value) { text += static_cast<char>(static_cast<unsigned char>(value)); };
    if (code < 0x80) {
        byte(code);
    } else if (code < 0x800) {
        byte(0xc0 | (code >> 6));
        byte(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        byte(0xe0 | (code >> 12));
        byte(0x80 | ((code >> 6) & 0x3f));
        byte(0x80 | (code & 0x3f));
    } else {
        byte(0xf0 | (code >> 18));
        byte(0x80 | ((code >> 12) & 0x3f));
        byte(0x80 | ((code >> 6) & 0x3f));
        byte(0x80 | (code & 0x3f));
    }
}

/// Decodes the escape sequence at `at`, appends it to `text`, and returns the position behind it.
std::size_t read_escape(const std::string& line, std::size_t at, std::string& text) {
    const char kind = at + 1 < line.size() ? line[at + 1] : '\n';
    if (const auto simple = ESCAPES.find(kind); simple != ESCAPES.end()) {
        text += simple->second;
        return at + 2;
    }
    const auto digits = HEXADECIMAL_DIGITS.find(kind);
    const std::string code = digits == HEXADECIMAL_DIGITS.end() ? "" : line.substr(at + 2, digits->second);
    if (code.empty() || code.size() != digits->second ||
        code.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos ||
        std::stoul(code, nullptr, 16) > 0x10ffff) {
        throw std::invalid_argument("unknown escape in quoted text");
    }
    append_utf8(text, std::stoul(code, nullptr, 16));
    return at + 2 + digits->second;
}

}  // namespace

Quoted read_quoted(const std::string& line, std::size_t at) {
    const char quote = line[at++];
    std::string text;
    while (at < line.size()) {
        if (quote == '"' && line[at] == '\\') {
            at = read_escape(line, at, text);
        } else if (line[at] != quote) {
            text += line[at++];
        } else if (quote == '\'' && at + 1 < line.size() && line[at + 1] == quote) {
            text += quote;
            at += 2;
        } else {
            return {text, at + 1};
        }
    }
    throw std::invalid_argument("quoted text does not end on its line");
}

std::size_t end_of_plain(const std::string& line, std::size_t at, bool in_brackets) {
    std::size_t end = at;
    for (std::size_t here = at; here < line.size(); ++here) {
        const bool last = here + 1 == line.size();
        const bool before_space = last || line[here + 1] == ' ';
        if (line[here] == ':' && (before_space || (in_brackets && std::string(",]}").find(line[here + 1]) < 3))) {
            break;
        }
        if (line[here] == '#' && here > at && line[here - 1] == ' ') {
            break;
        }
        if (in_brackets && std::string(",[]{}").find(line[here]) != std::string::npos) {
            break;
        }
        if (line[here] != ' ') {
            end = here + 1;
        }
    }
    return end;
}

}  // namespace segment::yaml
