/// Images by OpenCV.

#include <algorithm>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "error.h"
#include "image_file.h"

namespace segment {

namespace {

constexpr double DARKEST_16_BIT = 4096;  // what a 12-bit camera cannot reach

cv::Mat decoded(const std::string& bytes) {
    if (bytes.empty() || is_truncated(bytes)) {
        return {};
    }
    const cv::Mat encoded(1, static_cast<int>(bytes.size()), CV_8U, const_cast<char*>(bytes.data()));
    try {
        return cv::imdecode(encoded, cv::IMREAD_COLOR | cv::IMREAD_ANYDEPTH);
    } catch (const cv::Exception&) {
        return {};
    }
}

std::filesystem::path write_png(const std::filesystem::path& file, const void* values, Size size, int channels) {
    cv::Mat picture(size.height, size.width, channels == 3 ? CV_8UC3 : CV_8UC1, const_cast<void*>(values));
    if (channels == 3) {
        cv::Mat swapped;
        cv::cvtColor(picture, swapped, cv::COLOR_RGB2BGR);
        picture = swapped;
    }
    std::vector<uchar> encoded;
    cv::imencode(".png", picture, encoded);
    write_bytes(file, reinterpret_cast<const char*>(encoded.data()), encoded.size());
    return file;
}

}  // namespace

Image decode_other(const std::string& bytes, const std::filesystem::path& file) {
    cv::Mat found = decoded(bytes);
    if (found.empty()) {
        throw UserError(file.string() + ": not a complete image file");
    }
    if (webp_orientation(bytes) != 1) {
        throw UserError(file.string() + ": a WebP that only its EXIF turns upright; save it as it is to be seen");
    }
    if (found.depth() == CV_16U) {
        double largest = 0;
        cv::minMaxLoc(found.reshape(1), nullptr, &largest);
        if (largest > 0 && largest < DARKEST_16_BIT) {
            throw UserError(file.string() + ": its 16-bit numbers would be read as nearly black; save it with 8 bits");
        }
        cv::Mat bytes_of(found.size(), CV_8UC3);
        std::transform(found.begin<cv::Vec3w>(), found.end<cv::Vec3w>(), bytes_of.begin<cv::Vec3b>(),
                       [](const cv::Vec3w& wide) {
                           return cv::Vec3b(static_cast<uchar>(wide[0] >> 8), static_cast<uchar>(wide[1] >> 8),
                                            static_cast<uchar>(wide[2] >> 8));
                       });
        found = bytes_of;
    }
    if (found.type() != CV_8UC3) {
        throw UserError(file.string() + ": save it with 8 or 16 bits a channel");
    }
    Image image(Size{found.rows, found.cols});
    cv::cvtColor(found, cv::Mat(found.size(), CV_8UC3, image.values.data()), cv::COLOR_BGR2RGB);
    return image;
}

std::filesystem::path write_image(const std::filesystem::path& stem, const Image& image) {
    return write_png(stem.string() + ".png", image.values.data(), image.size, 3);
}

std::filesystem::path write_map(const std::filesystem::path& stem, const ByteMap& map) {
    return write_png(stem.string() + ".png", map.values.data(), map.size, 1);
}

}  // namespace segment
