#include <algorithm>
#include <map>
#include <openvino/openvino.hpp>
#include <sstream>

#include "error.h"
#include "network.h"

namespace segment {

namespace {

// What the processor must be able to do for a precision, and what OpenVINO is then asked for.
const std::map<std::string, std::string> CAPABILITIES = {
    {"fp32", "FP32"}, {"bf16", "BF16"}, {"fp16", "FP16"}, {"int8", "INT8"}};

/// The lines before the last name places in OpenVINO's source.
std::string last_line(const std::string& text) {
    std::istringstream stream(text);
    std::string line;
    std::string last;
    while (std::getline(stream, line)) {
        if (line.find_first_not_of(" \r") != std::string::npos) {
            last = line;
        }
    }
    return last;
}

ov::AnyMap settings_of(const Choice& choice) {
    ov::AnyMap settings = {ov::num_streams(1), ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY)};
    if (choice.threads > 0) {
        settings.insert(ov::inference_num_threads(choice.threads));
    }
    if (choice.precision == "fp32") {
        settings.insert(ov::hint::inference_precision(ov::element::f32));
    } else if (choice.precision == "bf16") {
        settings.insert(ov::hint::inference_precision(ov::element::bf16));
    } else if (choice.precision == "fp16") {
        settings.insert(ov::hint::inference_precision(ov::element::f16));
    }
    return settings;
}

ov::CompiledModel compile(const std::filesystem::path& file, const Choice& choice) {
    ov::Core core;
    const std::vector<std::string> able = core.get_property("CPU", ov::device::capabilities);
    if (std::find(able.begin(), able.end(), CAPABILITIES.at(choice.precision)) == able.end()) {
        throw UserError("--precision " + choice.precision + ": this processor does not compute in it");
    }
    const std::shared_ptr<ov::Model> model = core.read_model(file.string());
    ov::AnyMap settings = settings_of(choice);
    try {
        return core.compile_model(model, "CPU", settings);
    } catch (const ov::Exception&) {
        if (choice.precision != "int8") {
            throw;
        }
        // It takes bf16 for what int8 leaves in float, on a processor that oneDNN may know to be without it.
        settings.insert(ov::hint::inference_precision(ov::element::f32));
        return core.compile_model(model, "CPU", settings);
    }
}

class OpenvinoNetwork final : public Network {
public:
    OpenvinoNetwork(const std::filesystem::path& file, const Choice& choice) {
        try {
            request_ = compile(file, choice).create_infer_request();
        } catch (const ov::Exception& error) {
            throw UserError(file.string() + ": OpenVINO cannot load it (" + last_line(error.what()) + ")");
        }
    }

    Output run(const Input& input) override {
        const ov::Shape shape(input.shape.begin(), input.shape.end());
        // The tensors only refer to the input's memory, which OpenVINO reads and does not write.
        const ov::Tensor tensor =
            input.floats.empty() ? ov::Tensor(ov::element::u8, shape, const_cast<std::uint8_t*>(input.bytes.data()))
                                 : ov::Tensor(ov::element::f32, shape, const_cast<float*>(input.floats.data()));
        try {
            request_.set_input_tensor(tensor);
            request_.infer();
        } catch (const ov::Exception& error) {
            throw UserError("OpenVINO cannot compute the network (" + last_line(error.what()) + ")");
        }
        output_ = request_.get_output_tensor(0);
        const ov::Shape returned = output_.get_shape();
        Output output;
        output.shape.assign(returned.begin(), returned.end());
        if (output_.get_element_type() == ov::element::u8) {
            output.bytes = output_.data<std::uint8_t>();
        } else if (output_.get_element_type() == ov::element::f32) {
            output.floats = output_.data<float>();
        }
        return output;
    }

private:
    ov::InferRequest request_;
    ov::Tensor output_;
};

}  // namespace

std::unique_ptr<Network> open_openvino(const std::filesystem::path& file, const Choice& choice) {
    return std::make_unique<OpenvinoNetwork>(file, choice);
}

}  // namespace segment
