#pragma once

#include <vector>

#include "description.h"
#include "image.h"

namespace segment {

constexpr double OPACITY = 0.6;  ///< of the colours in overlays, as tool.predict has it

/// The classes' colours laid over the image; unknown pixels stay as they are.
Image overlay(const Image& image, const ByteMap& classes, const std::vector<ClassInfo>& names);

}  // namespace segment
