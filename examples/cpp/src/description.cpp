#include "description.h"

#include <algorithm>
#include <cmath>

#include "yaml.h"

namespace segment {

namespace {

constexpr int VERSION = 1;
constexpr int LONGEST_SIDE = 1 << 15;
constexpr int MOST_CLASSES = 256;  // that a class map of bytes can tell apart
const std::array<const char*, 12> KEYS = {"version", "num_classes", "input", "output_op",   "size",  "batch",
                                          "mean",    "std",         "scale", "temperature", "files", "classes"};
const std::map<std::string, InputForm> INPUTS = {
    {"uint8_rgb", InputForm::uint8_rgb}, {"uint8_bgr", InputForm::uint8_bgr}, {"float32", InputForm::float32}};
const std::map<std::string, OutputForm> OUTPUTS = {
    {"argmax", OutputForm::argmax}, {"softmax", OutputForm::softmax}, {"none", OutputForm::logits}};

template <class Form>
Form one_of(const yaml::Node& node, const std::map<std::string, Form>& known) {
    const auto found = known.find(node.string());
    if (found == known.end()) {
        std::string names;
        for (const auto& one : known) {
            names += (names.empty() ? "" : ", ") + one.first;
        }
        node.fail("'" + node.text + "' is none of " + names);
    }
    return found->second;
}

double positive(const yaml::Node& network, const std::string& key) {
    const yaml::Node* node = network.find(key);
    if (node == nullptr) {
        return 1;
    }
    const double value = node->number();
    if (!(value > 0)) {
        node->fail(key + " must be more than 0");
    }
    return value;
}

std::array<float, 3> channels(const yaml::Node& node) {
    std::array<float, 3> values{};
    std::transform(node.sequence(3).begin(), node.sequence(3).end(), values.begin(),
                   [](const yaml::Node& one) { return static_cast<float>(one.number()); });
    return values;
}

/// Hues a golden ratio apart never come close to each other.
ClassInfo numbered_class(int index) {
    const double hue = std::fmod(index * 0.618034, 1.0) * 6;
    ClassInfo found{"class_" + std::to_string(index), {}};
    for (int channel = 0; channel < 3; ++channel) {
        const double sector = std::fmod(hue + 5 - 2 * channel, 6.0);
        const double share = std::clamp(std::min(sector, 4 - sector), 0.0, 1.0);
        found.color[static_cast<std::size_t>(channel)] =
            static_cast<std::uint8_t>(std::lround(240 * (1 - 0.75 * share)));
    }
    return found;
}

std::vector<ClassInfo> read_classes(const yaml::Node& network) {
    const int count = network.at("num_classes").integer(2, MOST_CLASSES);
    std::vector<ClassInfo> classes;
    const yaml::Node* node = network.find("classes");
    if (node == nullptr || node->is_null()) {
        for (int index = 0; index < count; ++index) {
            classes.push_back(numbered_class(index));
        }
        return classes;
    }
    for (const auto& [name, color] : node->mapping()) {
        const std::vector<yaml::Node>& values = color.sequence(3);
        ClassInfo one{name, {}};
        std::transform(values.begin(), values.end(), one.color.begin(),
                       [](const yaml::Node& value) { return static_cast<std::uint8_t>(value.integer(0, 255)); });
        classes.push_back(one);
    }
    if (classes.size() != static_cast<std::size_t>(count)) {
        node->fail("names " + std::to_string(classes.size()) + " classes, num_classes is " + std::to_string(count));
    }
    return classes;
}

void check_keys(const yaml::Node& network) {
    const yaml::Node* version = network.find("version");
    if (version != nullptr && version->number() != VERSION) {
        version->fail("version " + version->text + ", this program reads " + std::to_string(VERSION) +
                      "; build a later one, or export the network again");
    }
    for (const auto& [key, value] : network.mapping()) {
        if (std::find(KEYS.begin(), KEYS.end(), key) == KEYS.end()) {
            value.fail("unknown key '" + key + "': it may change what the network needs; build a later program");
        }
    }
}

}  // namespace

Description read_description(const std::filesystem::path& folder) {
    const yaml::Node root = yaml::read(folder / "deploy.yaml");
    const yaml::Node& network = root.at("Network");
    check_keys(network);
    Description description;
    description.classes = read_classes(network);
    description.input = one_of(network.at("input"), INPUTS);
    description.output = one_of(network.at("output_op"), OUTPUTS);
    if (const yaml::Node& size = network.at("size"); !size.is_null()) {
        const std::vector<yaml::Node>& sides = size.sequence(2);
        description.size = Size{sides[0].integer(1, LONGEST_SIDE), sides[1].integer(1, LONGEST_SIDE)};
    }
    if (const yaml::Node* batch = network.find("batch"); batch != nullptr && !batch->is_null()) {
        description.batch = batch->integer(1, LONGEST_SIDE);
    }
    description.mean = channels(network.at("mean"));
    description.std = channels(network.at("std"));
    description.scale = positive(network, "scale");
    description.temperature = positive(network, "temperature");
    for (const auto& [engine, files] : network.at("files").mapping()) {
        for (const auto& [precision, file] : files.mapping()) {
            description.files[engine][precision] = file.string();
        }
    }
    return description;
}

}  // namespace segment
