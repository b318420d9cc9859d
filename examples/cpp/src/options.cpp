#include "options.h"

#include <algorithm>
#include <locale>
#include <sstream>

namespace segment {

const char* const USAGE =
    "usage: segment EXPORT_FOLDER IMAGE_OR_VIDEO... [options]\n"
    "\n"
    "Writes NAME_classes and NAME_overlay of each image, NAME_confidence where the export gives it,\n"
    "and NAME_overlay.mp4 of a video.\n"
    "\n"
    "  --engine NAME        openvino or onnxruntime; by default the first that both this program and the export have\n"
    "  --precision NAME     fp32 (the default), bf16, fp16 or int8\n"
    "  --unknown_below P    class 255 where the confidence is below P, from 0 to 1\n"
    "  --save_dir FOLDER    where the results go; by default segmented\n"
    "  --frames             also write the class map of every frame of a video\n"
    "  --threads N          number of threads; by default the engine decides\n";

namespace {

const std::vector<std::string> ENGINES = {"openvino", "onnxruntime"};
const std::vector<std::string> PRECISIONS = {"fp32", "bf16", "fp16", "int8"};

std::string one_of(const std::string& flag, const std::string& value, const std::vector<std::string>& known) {
    if (std::find(known.begin(), known.end(), value) == known.end()) {
        throw UsageError(flag + " " + value + ": not known; see --help");
    }
    return value;
}

template <class Number>
Number number(const std::string& flag, const std::string& text) {
    std::istringstream stream(text);
    stream.imbue(std::locale::classic());
    Number value{};
    if (!(stream >> value) || stream.peek() != std::istringstream::traits_type::eof() || value < 0) {
        throw UsageError(flag + " " + text + ": expected a number, not less than 0");
    }
    return value;
}

void take(Options& options, const std::string& flag, const std::string& value) {
    if (flag == "--engine") {
        options.choice.engine = one_of(flag, value, ENGINES);
    } else if (flag == "--precision") {
        options.choice.precision = one_of(flag, value, PRECISIONS);
    } else if (flag == "--unknown_below") {
        options.unknown_below = number<double>(flag, value);
    } else if (flag == "--save_dir") {
        options.save_dir = std::filesystem::path(value);
    } else if (flag == "--threads") {
        options.choice.threads = number<int>(flag, value);
    } else {
        throw UsageError(flag + ": unknown option; see --help");
    }
}

}  // namespace

Options parse(const std::vector<std::string>& arguments) {
    Options options;
    std::vector<std::string> names;
    for (std::size_t index = 0; index < arguments.size(); ++index) {
        const std::string& word = arguments[index];
        if (word == "--help" || word == "-h") {
            options.help = true;
            return options;
        }
        if (word == "--frames") {
            options.frames = true;
        } else if (word.compare(0, 2, "--") != 0) {
            names.push_back(word);
        } else if (++index < arguments.size()) {
            take(options, word, arguments[index]);
        } else {
            throw UsageError(word + ": its value is missing");
        }
    }
    if (names.size() < 2) {
        throw UsageError("name the folder of an export, and at least one image or video; see --help");
    }
    options.folder = names.front();
    options.sources.assign(names.begin() + 1, names.end());
    return options;
}

}  // namespace segment
