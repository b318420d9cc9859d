#include "video.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace segment {

bool is_video(const std::filesystem::path& file) {
    static const std::array<const char*, 8> TYPES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"};
    std::string type = file.extension().string();
    std::transform(type.begin(), type.end(), type.begin(),
                   [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
    return std::find(TYPES.begin(), TYPES.end(), type) != TYPES.end();
}

}  // namespace segment
