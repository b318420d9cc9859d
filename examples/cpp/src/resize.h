#pragma once

#include <algorithm>
#include <cstdint>

#include "image.h"

namespace segment {

/// Bilinear between pixel centres, in fixed point: the bits of OpenCV's INTER_LINEAR_EXACT for uint8, which the Python
/// side uses. It stands here so that neither OpenCV nor its version matters.
Image resize_linear(const Image& image, Size size);

/// Where row or column `index` of `size` comes from in `source`: the nearest pixel centre, as OpenCV's
/// INTER_NEAREST_EXACT finds it.
inline int nearest(int index, int source, int size) {
    const std::int64_t step = ((std::int64_t{source} << 16) + size / 2) / size;
    const std::int64_t start = step / 2 - source % 2;
    return static_cast<int>(std::min<std::int64_t>((step * index + start) >> 16, source - 1));
}

/// A map at another size, by the nearest pixel centre.
template <class Value>
Raster<Value, 1> resize_nearest(const Raster<Value, 1>& map, Size size) {
    if (map.size == size) {
        return map;
    }
    Raster<Value, 1> resized(size);
    for (int y = 0; y < size.height; ++y) {
        const int from = nearest(y, map.size.height, size.height);
        for (int x = 0; x < size.width; ++x) {
            *resized.pixel(y, x) = *map.pixel(from, nearest(x, map.size.width, size.width));
        }
    }
    return resized;
}

}  // namespace segment
