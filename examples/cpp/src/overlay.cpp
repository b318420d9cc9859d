#include "overlay.h"

#include <cmath>

namespace segment {

Image overlay(const Image& image, const ByteMap& classes, const std::vector<ClassInfo>& names) {
    Image picture = image;
    for (std::size_t index = 0; index < classes.values.size(); ++index) {
        const std::size_t id = classes.values[index];
        if (id >= names.size()) {
            continue;
        }
        for (std::size_t channel = 0; channel < 3; ++channel) {
            std::uint8_t& value = picture.values[3 * index + channel];
            value =
                static_cast<std::uint8_t>(std::nearbyint(OPACITY * names[id].color[channel] + (1 - OPACITY) * value));
        }
    }
    return picture;
}

}  // namespace segment
