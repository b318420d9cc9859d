#include "segmenter.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>
#include <string>

#include "error.h"
#include "resize.h"

namespace segment {

namespace {

/// By how much the ratio of the sides may change without a warning: rounding to whole pixels stays below.
constexpr double SQUEEZE_TOLERANCE = 0.02;

int scaled(int side, double scale) { return std::max(1, static_cast<int>(side * scale + 0.5)); }

/// (value / 255 - mean) / std as value * factor - offset, rounded as numpy rounds it; [3, H, W].
void normalize(const Image& image, const Description& description, float* values) {
    const std::size_t pixels = image.size.pixels();
    for (std::size_t channel = 0; channel < 3; ++channel) {
        const float factor = 1.0F / (255.0F * description.std[channel]);
        const float offset = description.mean[channel] / description.std[channel];
        for (std::size_t index = 0; index < pixels; ++index) {
            const float product = static_cast<float>(image.values[3 * index + channel]) * factor;
            values[channel * pixels + index] = product - offset;
        }
    }
}

/// The confidence of a pixel: its largest softmax probability.
float confidence_of(const float* scores, std::size_t plane, std::size_t count, float largest, const Description& of) {
    if (of.output == OutputForm::softmax) {
        return largest;
    }
    float sum = 0;
    for (std::size_t index = 0; index < count; ++index) {
        sum += std::exp((scores[index * plane] - largest) / static_cast<float>(of.temperature));
    }
    return 1 / sum;
}

}  // namespace

Segmenter::Segmenter(Network& network, const Description& description, double unknown_below)
    : network_(network), description_(description), unknown_below_(static_cast<float>(unknown_below)) {
    if (!(unknown_below >= 0 && unknown_below <= 1)) {
        throw UserError("--unknown_below: give a confidence from 0 to 1");
    }
    if (unknown_below > 0 && !description.gives_confidence()) {
        throw UserError(
            "--unknown_below: this network returns class maps without confidence; export it with --output_op softmax");
    }
}

Segmentation Segmenter::operator()(const Image& image) {
    const Size seen = seen_size(image.size);
    warn_where_squeezed(image.size);
    const Output output = network_.run(prepare(seen == image.size ? image : resize_linear(image, seen)));
    Segmentation found = decide(output, seen);
    found.classes = resize_nearest(found.classes, image.size);
    if (found.confidence) {
        found.confidence = resize_nearest(*found.confidence, image.size);
    }
    return found;
}

Size Segmenter::seen_size(Size size) const {
    if (description_.size) {
        return *description_.size;
    }
    return {scaled(size.height, description_.scale), scaled(size.width, description_.scale)};
}

void Segmenter::warn_where_squeezed(Size size) {
    const Size seen = seen_size(size);
    const double ratio =
        static_cast<double>(seen.height) * size.width / (static_cast<double>(seen.width) * size.height);
    if (!description_.size || warned_ || std::abs(ratio - 1) <= SQUEEZE_TOLERANCE) {
        return;
    }
    warned_ = true;
    std::clog << "warning: the network is fixed to " << seen.width << "x" << seen.height << ": images of " << size.width
              << "x" << size.height << " are squeezed into it; for their shape export with --input_shape -1 3 -1 -1\n";
}

Input Segmenter::prepare(const Image& seen) const {
    const std::int64_t batch = description_.batch;
    const std::size_t values = seen.values.size();
    Input input;
    if (description_.input == InputForm::float32) {
        input.shape = {batch, 3, seen.size.height, seen.size.width};
        input.floats.resize(values * static_cast<std::size_t>(batch));
        normalize(seen, description_, input.floats.data());
        for (std::size_t copy = 1; copy < static_cast<std::size_t>(batch); ++copy) {
            std::copy_n(input.floats.begin(), values,
                        input.floats.begin() + static_cast<std::ptrdiff_t>(copy * values));
        }
        return input;
    }
    input.shape = {batch, seen.size.height, seen.size.width, 3};
    for (std::int64_t copy = 0; copy < batch; ++copy) {
        input.bytes.insert(input.bytes.end(), seen.values.begin(), seen.values.end());
    }
    if (description_.input == InputForm::uint8_bgr) {
        for (std::size_t at = 0; at < input.bytes.size(); at += 3) {
            std::swap(input.bytes[at], input.bytes[at + 2]);
        }
    }
    return input;
}

Segmentation Segmenter::decide(const Output& output, Size size) const {
    const std::int64_t count = static_cast<std::int64_t>(description_.classes.size());
    const bool scores = description_.gives_confidence();
    const std::vector<std::int64_t> expected =
        scores ? std::vector<std::int64_t>{description_.batch, count, size.height, size.width}
               : std::vector<std::int64_t>{description_.batch, size.height, size.width};
    if (output.shape != expected || (scores ? output.floats == nullptr : output.bytes == nullptr)) {
        throw UserError("the network's output does not match deploy.yaml; export it again");
    }
    Segmentation found{ByteMap(size), std::nullopt};
    const std::size_t plane = size.pixels();
    if (!scores) {
        std::memcpy(found.classes.values.data(), output.bytes, plane);
        return found;
    }
    found.confidence.emplace(size);
    for (std::size_t index = 0; index < plane; ++index) {
        const float* of_pixel = output.floats + index;
        std::size_t best = 0;
        for (std::size_t one = 1; one < static_cast<std::size_t>(count); ++one) {
            best = of_pixel[one * plane] > of_pixel[best * plane] ? one : best;
        }
        const float confidence =
            confidence_of(of_pixel, plane, static_cast<std::size_t>(count), of_pixel[best * plane], description_);
        found.confidence->values[index] = confidence;
        found.classes.values[index] = confidence < unknown_below_ ? UNKNOWN : static_cast<std::uint8_t>(best);
    }
    return found;
}

}  // namespace segment
