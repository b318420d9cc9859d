#include "resize.h"

#include <cmath>
#include <vector>

namespace segment {

namespace {

constexpr int ONE = 256;  // of the weights' fixed point

/// Of one row or column: its two neighbours in the source, and the weight of the second in 1/256.
struct Tap {
    int first;
    int second;
    int weight;
};

std::vector<Tap> taps(int source, int size) {
    // As OpenCV computes it; the two divisions round, and so must these.
    const double inverse = static_cast<double>(size) / source;
    const double scale = 1.0 / inverse;
    std::vector<Tap> found;
    for (int index = 0; index < size; ++index) {
        const double scaled = scale * (index + 0.5);
        const double center = scaled - 0.5;
        const int first = static_cast<int>(std::floor(center));
        if (first < 0 || source == 1) {
            found.push_back({0, 0, 0});
        } else if (first >= source - 1) {
            found.push_back({source - 1, source - 1, 0});
        } else {
            // nearbyint rounds halves to even, as the default mode of floating point says.
            found.push_back({first, first + 1, static_cast<int>(std::nearbyint((center - first) * ONE))});
        }
    }
    return found;
}

}  // namespace

Image resize_linear(const Image& image, Size size) {
    const std::vector<Tap> rows = taps(image.size.height, size.height);
    const std::vector<Tap> columns = taps(image.size.width, size.width);
    Image resized(size);
    for (int y = 0; y < size.height; ++y) {
        const Tap& row = rows[static_cast<std::size_t>(y)];
        for (int x = 0; x < size.width; ++x) {
            const Tap& column = columns[static_cast<std::size_t>(x)];
            const auto across = [&image, &column](int line, int channel) {
                return image.pixel(line, column.first)[channel] * (ONE - column.weight) +
                       image.pixel(line, column.second)[channel] * column.weight;
            };
            for (int channel = 0; channel < 3; ++channel) {
                const int sum =
                    across(row.first, channel) * (ONE - row.weight) + across(row.second, channel) * row.weight;
                resized.pixel(y, x)[channel] = static_cast<std::uint8_t>((sum + ONE * ONE / 2) >> 16);
            }
        }
    }
    return resized;
}

}  // namespace segment
