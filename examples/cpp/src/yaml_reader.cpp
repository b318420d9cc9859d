#include <fstream>
#include <stdexcept>

#include "error.h"
#include "yaml.h"
#include "yaml_scalar.h"

namespace segment::yaml {

namespace {

constexpr int DEEPEST = 16;  // nested values; exports are not nested more deeply

struct Line {
    int number;
    std::size_t indent;
    std::string text;  // without its indentation
};

class Reader {
public:
    explicit Reader(const std::filesystem::path& path) : file_(std::make_shared<const std::string>(path.string())) {
        std::ifstream stream(path, std::ios::binary);
        if (!stream) {
            throw UserError(*file_ + ": no such file; export the network with: python -m tool.export");
        }
        std::string line;
        for (int number = 1; std::getline(stream, line); ++number) {
            take(line, number);
        }
    }

    Node read() {
        if (lines_.empty()) {
            fail(1, "is empty");
        }
        Node node = block(lines_.front().indent, 0);
        if (next_ < lines_.size()) {
            fail(lines_[next_].number, "is indented inconsistently");
        }
        return node;
    }

private:
    void take(std::string line, int number) {
        if (number == 1 && line.compare(0, 3, "\xef\xbb\xbf") == 0) {
            line.erase(0, 3);
        }
        if (!line.empty() && line.back() == '\r') {
            line.pop_back();
        }
        const std::size_t indent = line.find_first_not_of(' ');
        if (indent == std::string::npos || line[indent] == '#') {
            return;
        }
        if (line.find('\t') != std::string::npos) {
            fail(number, "tabs are not supported; use spaces");
        }
        if (line.compare(0, 3, "---") == 0 || line.compare(0, 3, "...") == 0 || line[0] == '%') {
            fail(number, "document markers and directives are not supported");
        }
        lines_.push_back({number, indent, line.substr(indent)});
    }

    [[noreturn]] void fail(int line, const std::string& what) const {
        throw UserError(*file_ + ":" + std::to_string(line) + ": " + what);
    }

    Node node_at(int line, Kind kind) const {
        Node node;
        node.kind = kind;
        node.line = line;
        node.file = file_;
        return node;
    }

    static bool is_item(const std::string& text) { return text == "-" || text.compare(0, 2, "- ") == 0; }

    /// The lines from here that are indented by `indent`, with their nested lines.
    Node block(std::size_t indent, int depth) {
        if (depth > DEEPEST) {
            fail(lines_[next_].number, "is nested too deeply");
        }
        const bool items = is_item(lines_[next_].text);
        Node node = node_at(lines_[next_].number, items ? Kind::sequence : Kind::mapping);
        while (next_ < lines_.size() && lines_[next_].indent == indent && is_item(lines_[next_].text) == items) {
            items ? item(node, indent, depth) : member(node, indent, depth);
        }
        if (next_ < lines_.size() && lines_[next_].indent > indent) {
            fail(lines_[next_].number, "is indented inconsistently");
        }
        return node;
    }

    void item(Node& node, std::size_t indent, int depth) {
        Line& line = lines_[next_];
        const std::size_t start = line.text.find_first_not_of(' ', 1);
        if (start == std::string::npos) {
            fail(line.number, "a list item has no value");
        }
        const std::string rest = line.text.substr(start);
        if (is_item(rest) || has_key(rest, line.number)) {
            line.indent = indent + start;
            line.text = rest;
            node.items.push_back(block(line.indent, depth + 1));
        } else {
            node.items.push_back(inline_value(rest, 0, line.number, depth + 1));
            ++next_;
        }
    }

    void member(Node& node, std::size_t indent, int depth) {
        const Line line = lines_[next_];
        std::size_t at = 0;
        Node key = scalar(line.text, at, false, line.number);
        if (at >= line.text.size() || line.text[at] != ':') {
            fail(line.number, "expected 'key: value'");
        }
        at = line.text.find_first_not_of(' ', at + 1);
        ++next_;
        if (at != std::string::npos && line.text[at] != '#') {
            add(node, key, inline_value(line.text, at, line.number, depth + 1));
            return;
        }
        const bool nested = next_ < lines_.size() && (lines_[next_].indent > indent ||
                                                      (lines_[next_].indent == indent && is_item(lines_[next_].text)));
        add(node, key, nested ? block(lines_[next_].indent, depth + 1) : node_at(line.number, Kind::null));
    }

    void add(Node& node, const Node& key, Node value) const {
        for (const auto& one : node.members) {
            if (one.first == key.text) {
                fail(key.line, "duplicate key " + key.text);
            }
        }
        node.members.emplace_back(key.text, std::move(value));
    }

    bool has_key(const std::string& text, int line) const {
        if (text[0] == '[' || text[0] == '{') {
            return false;
        }
        std::size_t at = 0;
        scalar(text, at, false, line);
        return at < text.size() && text[at] == ':';
    }

    /// A value that ends on its line; nothing but a comment may follow.
    Node inline_value(const std::string& text, std::size_t at, int line, int depth) const {
        Node node = value(text, at, line, false, depth);
        at = text.find_first_not_of(' ', at);
        if (at != std::string::npos && (text[at] != '#' || text[at - 1] != ' ')) {
            fail(line, "cannot parse '" + text.substr(at) + "'");
        }
        return node;
    }

    Node value(const std::string& text, std::size_t& at, int line, bool in_brackets, int depth) const {
        if (depth > DEEPEST) {
            fail(line, "is nested too deeply");
        }
        if (text[at] == '[' || text[at] == '{') {
            return brackets(text, at, line, depth);
        }
        return scalar(text, at, in_brackets, line);
    }

    Node brackets(const std::string& text, std::size_t& at, int line, int depth) const {
        const bool items = text[at] == '[';
        const char close = items ? ']' : '}';
        Node node = node_at(line, items ? Kind::sequence : Kind::mapping);
        skip(text, ++at, line);
        while (text[at] != close) {
            if (items) {
                node.items.push_back(value(text, at, line, true, depth + 1));
            } else {
                const Node key = scalar(text, at, true, line);
                skip(text, at, line);
                if (text[at] != ':') {
                    fail(line, "expected 'key: value' in braces");
                }
                skip(text, ++at, line);
                add(node, key, value(text, at, line, true, depth + 1));
            }
            skip(text, at, line);
            if (text[at] != ',' && text[at] != close) {
                fail(line, std::string("expected ',' or '") + close + "'");
            }
            if (text[at] == ',') {
                skip(text, ++at, line);
            }
        }
        ++at;
        return node;
    }

    /// Moves `at` over spaces to what must follow on this line.
    void skip(const std::string& text, std::size_t& at, int line) const {
        at = text.find_first_not_of(' ', at);
        if (at == std::string::npos || text[at] == '#') {
            fail(line, "a bracket is not closed on its line");
        }
    }

    Node scalar(const std::string& text, std::size_t& at, bool in_brackets, int line) const {
        Node node = node_at(line, Kind::scalar);
        if (text[at] == '"' || text[at] == '\'') {
            try {
                Quoted found = read_quoted(text, at);
                node.text = std::move(found.text);
                at = found.end;
            } catch (const std::invalid_argument& error) {
                fail(line, error.what());
            }
            node.quoted = true;
            return node;
        }
        const std::size_t end = end_of_plain(text, at, in_brackets);
        if (end == at || std::string("&*!|>%@`?,").find(text[at]) != std::string::npos) {
            fail(line, "cannot parse '" + text.substr(at) + "'");
        }
        node.text = text.substr(at, end - at);
        at = text.find_first_not_of(' ', end);
        if (at == std::string::npos || text[at] == '#') {
            at = end;
        }
        if (node.text == "null" || node.text == "~") {
            node.kind = Kind::null;
        }
        return node;
    }

    std::shared_ptr<const std::string> file_;
    std::vector<Line> lines_;
    std::size_t next_ = 0;
};

}  // namespace

Node read(const std::filesystem::path& file) { return Reader(file).read(); }

}  // namespace segment::yaml
