/// Videos by OpenCV.

#include <algorithm>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>
#include <string>

#include "error.h"
#include "image_file.h"
#include "overlay.h"
#include "video.h"

namespace segment {

namespace {

constexpr double USUAL_RATE = 25;  // frames a second, where the file states none or an absurd one
constexpr double LOWEST_RATE = 1, HIGHEST_RATE = 240;
constexpr std::size_t DIGITS = 6;  // of a frame's number

std::string numbered(int number) {
    const std::string digits = std::to_string(number);
    return std::string(DIGITS - std::min(DIGITS, digits.size()), '0') + digits;
}

Image from_bgr(const cv::Mat& frame) {
    Image image(Size{frame.rows, frame.cols});
    cv::cvtColor(frame, cv::Mat(frame.size(), CV_8UC3, image.values.data()), cv::COLOR_BGR2RGB);
    return image;
}

cv::Mat to_bgr(const Image& image) {
    cv::Mat frame;
    const cv::Mat picture(image.size.height, image.size.width, CV_8UC3, const_cast<std::uint8_t*>(image.values.data()));
    cv::cvtColor(picture, frame, cv::COLOR_RGB2BGR);
    return frame(cv::Rect(0, 0, frame.cols / 2 * 2, frame.rows / 2 * 2));
}

}  // namespace

int segment_video(const std::filesystem::path& file, const std::filesystem::path& stem, Segmenter& segmenter,
                  const Description& description, bool frames) {
    cv::VideoCapture source(file.string());
    cv::VideoWriter writer;
    const std::string target = stem.string() + "_overlay.mp4";
    const std::filesystem::path folder = stem.string() + "_classes";
    if (frames) {
        std::filesystem::create_directories(folder);
    }
    int count = 0;
    for (cv::Mat frame; source.read(frame); ++count) {
        const Image image = from_bgr(frame);
        const ByteMap classes = segmenter(image).classes;
        const cv::Mat drawn = to_bgr(overlay(image, classes, description.classes));
        const double rate = source.get(cv::CAP_PROP_FPS);
        const bool is_usual = rate >= LOWEST_RATE && rate <= HIGHEST_RATE;
        if (!writer.isOpened() && !writer.open(target, cv::VideoWriter::fourcc('m', 'p', '4', 'v'),
                                               is_usual ? rate : USUAL_RATE, drawn.size())) {
            throw UserError(target + ": cannot be written as a video; choose another --save_dir");
        }
        writer.write(drawn);
        if (frames) {
            write_map(folder / numbered(count), classes);
        }
    }
    if (count == 0) {
        throw UserError(file.string() + ": no such video, or not one that OpenCV reads");
    }
    return count;
}

}  // namespace segment
