#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace segment {

struct Size {
    int height = 0;
    int width = 0;

    std::size_t pixels() const { return static_cast<std::size_t>(height) * static_cast<std::size_t>(width); }
    bool operator==(const Size& other) const { return height == other.height && width == other.width; }
    bool operator!=(const Size& other) const { return !(*this == other); }
};

/// [H, W, C], row by row.
template <class Value, int Channels>
struct Raster {
    Size size;
    std::vector<Value> values;

    Raster() = default;
    explicit Raster(Size of) : size(of), values(of.pixels() * Channels) {}
    const Value* pixel(int y, int x) const { return values.data() + offset(y, x); }
    Value* pixel(int y, int x) { return values.data() + offset(y, x); }

private:
    std::size_t offset(int y, int x) const {
        return (static_cast<std::size_t>(y) * static_cast<std::size_t>(size.width) + static_cast<std::size_t>(x)) *
               Channels;
    }
};

using Image = Raster<std::uint8_t, 3>;    ///< red, green, blue
using ByteMap = Raster<std::uint8_t, 1>;  ///< of classes, or of grey
using Confidence = Raster<float, 1>;      ///< in (0, 1]

constexpr std::uint8_t UNKNOWN = 255;  ///< in a class map: what readers of labels ignore

}  // namespace segment
