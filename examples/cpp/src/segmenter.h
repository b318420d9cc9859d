#pragma once

#include <optional>

#include "description.h"
#include "image.h"
#include "network.h"

namespace segment {

/// The result for an image, at its size.
struct Segmentation {
    ByteMap classes;                       ///< UNKNOWN where the confidence is too small
    std::optional<Confidence> confidence;  ///< if the export returns it
};

/// The way from an image to its class map, step by step as in engine/runtime/segmenter.py:
///
/// 1. The image is resized, as bytes, to the size that the graph is fixed to, or by the scale of `deploy.yaml`. Where
///    that squeezes it, one line on standard error says so.
/// 2. Each pixel gets the class of its largest score, the first among equal ones.
/// 3. The class map comes back to the image's size by the nearest pixel centre.
class Segmenter {
public:
    /// @param unknown_below pixels of a smaller confidence, in [0, 1], become UNKNOWN.
    /// @throws UserError for an `unknown_below` out of range, or for a graph that gives no confidence.
    Segmenter(Network& network, const Description& description, double unknown_below = 0);

    /// @throws UserError if the engine fails, or the output does not match `deploy.yaml`.
    Segmentation operator()(const Image& image);

    /// The input size of the network for an image of this size.
    Size seen_size(Size size) const;

private:
    void warn_where_squeezed(Size size);
    Input prepare(const Image& seen) const;
    Segmentation decide(const Output& output, Size size) const;

    Network& network_;
    const Description& description_;
    float unknown_below_;
    bool warned_ = false;
};

}  // namespace segment
