#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "image.h"

namespace segment {

enum class InputForm { uint8_rgb, uint8_bgr, float32 };
enum class OutputForm { argmax, softmax, logits };

struct ClassInfo {
    std::string name;                   ///< UTF-8
    std::array<std::uint8_t, 3> color;  ///< red, green, blue
};

/// What `deploy.yaml` says of an exported network; the Python side is engine/runtime/description.py.
struct Description {
    /// uint8: an image [N, H, W, 3] as it is decoded; float32: a normalised RGB image [N, 3, H, W].
    InputForm input = InputForm::uint8_rgb;
    /// argmax: classes [N, H, W] uint8; softmax: probabilities, logits: logits, both [N, K, H, W] float32.
    OutputForm output = OutputForm::argmax;
    std::optional<Size> size;                     ///< that the graph is fixed to
    int batch = 1;                                ///< of the images that the graph takes; each gets the same one
    std::array<float, 3> mean{0.5F, 0.5F, 0.5F};  ///< of (value / 255 - mean) / std
    std::array<float, 3> std{0.5F, 0.5F, 0.5F};
    double scale = 1;        ///< of images before a graph of any size sees them
    double temperature = 1;  ///< that logits are divided by before softmax
    std::map<std::string, std::map<std::string, std::string>> files;  ///< {engine: {precision: file}}
    /// Of length K. Numbered names and colours of our own, where an older export has none.
    std::vector<ClassInfo> classes;

    bool gives_confidence() const { return output != OutputForm::argmax; }
};

/// Reads `folder/deploy.yaml`.
///
/// @throws UserError, naming file and line, for a file that is missing, broken or of a later version.
Description read_description(const std::filesystem::path& folder);

}  // namespace segment
