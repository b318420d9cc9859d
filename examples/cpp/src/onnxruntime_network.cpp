#include <onnxruntime_cxx_api.h>

#include <optional>

#include "error.h"
#include "network.h"

namespace segment {

namespace {

Ort::Session open_session(Ort::Env& env, const std::filesystem::path& file, const Choice& choice) {
    Ort::SessionOptions options;
    if (choice.threads > 0) {
        options.SetIntraOpNumThreads(choice.threads);
    }
    return Ort::Session(env, file.c_str(), options);
}

/// The name of the first input or output, by a call that every version of ONNX Runtime has.
template <class Call>
std::string first_name(Ort::Session& session, Call call) {
    Ort::AllocatorWithDefaultOptions allocator;
    char* name = nullptr;
    Ort::ThrowOnError(call(session, 0, allocator, &name));
    const std::string found = name;
    allocator.Free(name);
    return found;
}

class OnnxruntimeNetwork final : public Network {
public:
    OnnxruntimeNetwork(const std::filesystem::path& file, const Choice& choice)
        : env_(ORT_LOGGING_LEVEL_ERROR, "segment"),
          memory_(Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault)) {
        try {
            session_.emplace(open_session(env_, file, choice));
            input_name_ = first_name(*session_, Ort::GetApi().SessionGetInputName);
            output_name_ = first_name(*session_, Ort::GetApi().SessionGetOutputName);
        } catch (const Ort::Exception& error) {
            throw UserError(file.string() + ": ONNX Runtime cannot load it (" + error.what() + ")");
        }
    }

    Output run(const Input& input) override {
        const char* names[] = {input_name_.c_str(), output_name_.c_str()};
        try {
            const Ort::Value value = input.floats.empty() ? tensor(input, input.bytes) : tensor(input, input.floats);
            result_ = session_->Run(Ort::RunOptions{nullptr}, names, &value, 1, names + 1, 1);
        } catch (const Ort::Exception& error) {
            throw UserError(std::string("ONNX Runtime cannot compute the network (") + error.what() + ")");
        }
        const auto info = result_[0].GetTensorTypeAndShapeInfo();
        Output output;
        output.shape = info.GetShape();
        if (info.GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8) {
            output.bytes = result_[0].GetTensorMutableData<std::uint8_t>();
        } else if (info.GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {
            output.floats = result_[0].GetTensorMutableData<float>();
        }
        return output;
    }

private:
    template <class Value>
    Ort::Value tensor(const Input& input, const std::vector<Value>& values) const {
        // It only refers to the input's memory, which is read and not written.
        return Ort::Value::CreateTensor<Value>(memory_, const_cast<Value*>(values.data()), values.size(),
                                               input.shape.data(), input.shape.size());
    }

    Ort::Env env_;
    Ort::MemoryInfo memory_;
    std::optional<Ort::Session> session_;
    std::string input_name_;
    std::string output_name_;
    std::vector<Ort::Value> result_;
};

}  // namespace

std::unique_ptr<Network> open_onnxruntime(const std::filesystem::path& file, const Choice& choice) {
    if (choice.precision != "fp32" && choice.precision != "int8") {
        throw UserError("--precision " + choice.precision + ": ONNX Runtime computes in fp32 or int8 on a CPU");
    }
    return std::make_unique<OnnxruntimeNetwork>(file, choice);
}

}  // namespace segment
