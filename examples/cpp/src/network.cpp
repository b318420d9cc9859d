#include "network.h"

#include <algorithm>

#include "error.h"

namespace segment {

namespace {

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) {
        text += (text.empty() ? "" : ", ") + name;
    }
    return text;
}

/// The file of an engine in a precision; empty where the export has none. bf16 and fp16 are computed from float32.
std::string file_of(const Description& description, const std::string& engine, const std::string& precision) {
    const auto files = description.files.find(engine);
    if (files == description.files.end()) {
        return "";
    }
    const auto file = files->second.find(precision == "int8" ? "int8" : "fp32");
    return file == files->second.end() ? "" : file->second;
}

}  // namespace

const std::vector<std::string>& engines() {
    static const std::vector<std::string> built = {
#ifdef SEGMENT_WITH_OPENVINO
        "openvino",
#endif
#ifdef SEGMENT_WITH_ONNXRUNTIME
        "onnxruntime",
#endif
    };
    return built;
}

std::unique_ptr<Network> open_network(const std::filesystem::path& folder, const Description& description,
                                      const Choice& choice) {
    const std::vector<std::string> wanted = choice.engine.empty() ? engines() : std::vector<std::string>{choice.engine};
    const auto& built = engines();
    if (!choice.engine.empty() && std::find(built.begin(), built.end(), choice.engine) == built.end()) {
        throw UserError("--engine " + choice.engine + ": this program was built with " + joined(built) + " alone");
    }
    for (const std::string& engine : wanted) {
        const std::string file = file_of(description, engine, choice.precision);
        if (file.empty()) {
            continue;
        }
        const std::filesystem::path path = folder / file;
        if (!std::filesystem::is_regular_file(path)) {
            throw UserError(path.string() + ": no such file; export the network with: python -m tool.export");
        }
#ifdef SEGMENT_WITH_OPENVINO
        if (engine == "openvino") {
            return open_openvino(path, choice);
        }
#endif
#ifdef SEGMENT_WITH_ONNXRUNTIME
        if (engine == "onnxruntime") {
            return open_onnxruntime(path, choice);
        }
#endif
    }
    throw UserError(folder.string() + ": holds no " + choice.precision + " network for " + joined(wanted) +
                    "; export it with: python -m tool.export" + (choice.precision == "int8" ? " --int8" : ""));
}

}  // namespace segment
