#include <locale>
#include <sstream>

#include "error.h"
#include "yaml.h"

namespace segment::yaml {

void Node::fail(const std::string& what) const { throw UserError(*file + ":" + std::to_string(line) + ": " + what); }

const Node* Node::find(const std::string& key) const {
    for (const auto& [name, value] : mapping()) {
        if (name == key) {
            return &value;
        }
    }
    return nullptr;
}

const Node& Node::at(const std::string& key) const {
    const Node* found = find(key);
    if (found == nullptr) {
        fail("lacks the key " + key + "; export the network again");
    }
    return *found;
}

const std::vector<Node>& Node::sequence(std::size_t length) const {
    if (kind != Kind::sequence || items.size() != length) {
        fail("expected a list of " + std::to_string(length));
    }
    return items;
}

const std::vector<std::pair<std::string, Node>>& Node::mapping() const {
    if (kind != Kind::mapping) {
        fail("expected keys with values");
    }
    return members;
}

const std::string& Node::string() const {
    if (kind != Kind::scalar) {
        fail("expected text");
    }
    return text;
}

double Node::number() const {
    std::istringstream stream(string());
    stream.imbue(std::locale::classic());
    double value = 0;
    if (quoted || !(stream >> value) || !stream.eof()) {
        fail("expected a number, not '" + text + "'");
    }
    return value;
}

int Node::integer(int low, int high) const {
    const double value = number();
    if (!(value >= low && value <= high) || value != static_cast<int>(value)) {
        fail("expected a whole number from " + std::to_string(low) + " to " + std::to_string(high) + ", not " + text);
    }
    return static_cast<int>(value);
}

}  // namespace segment::yaml
