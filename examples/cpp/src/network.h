#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "description.h"

namespace segment {

/// What a graph takes: one of the two vectors has the values.
struct Input {
    std::vector<std::int64_t> shape;  ///< [N, H, W, 3] of bytes, or [N, 3, H, W] of floats
    std::vector<std::uint8_t> bytes;
    std::vector<float> floats;
};

/// What a graph returned: one of the two pointers, which hold until the next call.
struct Output {
    std::vector<std::int64_t> shape;  ///< [N, H, W] of bytes, or [N, K, H, W] of floats
    const std::uint8_t* bytes = nullptr;
    const float* floats = nullptr;
};

/// A network that an engine computes. Not to be called by several threads at once.
class Network {
public:
    virtual ~Network() = default;
    /// @throws UserError where the engine refuses, as for a size that the graph is not made for.
    virtual Output run(const Input& input) = 0;
};

/// Which network of an export, and how.
struct Choice {
    std::string engine;     ///< of engines(); empty for the first that the export has a file for
    std::string precision;  ///< fp32, bf16, fp16 or int8
    int threads = 0;        ///< 0 leaves the number to the engine
};

/// The engines that this program was built with.
const std::vector<std::string>& engines();

/// @throws UserError for an engine or precision that is not there, and for a file that the engine cannot load.
std::unique_ptr<Network> open_network(const std::filesystem::path& folder, const Description& description,
                                      const Choice& choice);

std::unique_ptr<Network> open_openvino(const std::filesystem::path& file, const Choice& choice);
std::unique_ptr<Network> open_onnxruntime(const std::filesystem::path& file, const Choice& choice);

}  // namespace segment
