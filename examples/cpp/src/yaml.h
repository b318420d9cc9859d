#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace segment::yaml {

enum class Kind { null, scalar, sequence, mapping };

/// A value of a YAML file. Access as another kind or range throws a UserError that names file and line.
class Node {
public:
    Kind kind = Kind::null;
    std::string text;                                   ///< of a scalar, without quotes and escapes
    bool quoted = false;                                ///< whether a scalar is quoted, and thus not a number
    std::vector<Node> items;                            ///< of a sequence
    std::vector<std::pair<std::string, Node>> members;  ///< of a mapping, in the file's order
    int line = 0;                                       ///< from 1
    std::shared_ptr<const std::string> file;

    bool is_null() const { return kind == Kind::null; }
    /// The value of a key, or nullptr if the mapping lacks it.
    const Node* find(const std::string& key) const;
    const Node& at(const std::string& key) const;
    const std::vector<Node>& sequence(std::size_t length) const;
    const std::vector<std::pair<std::string, Node>>& mapping() const;
    const std::string& string() const;
    double number() const;
    int integer(int low, int high) const;
    [[noreturn]] void fail(const std::string& what) const;
};

/// Reads a file as tool.export writes `deploy.yaml`: mappings and sequences by indentation or in brackets, comments,
/// plain and quoted text on one line.
///
/// @throws UserError for a file that cannot be read, and for YAML beyond that: anchors, tags, folded text, several
///     documents.
Node read(const std::filesystem::path& file);

}  // namespace segment::yaml
