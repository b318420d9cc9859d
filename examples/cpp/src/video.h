#pragma once

#include <filesystem>

#include "description.h"
#include "segmenter.h"

namespace segment {

/// Whether the file's name is that of a video.
bool is_video(const std::filesystem::path& file);

/// Segments every frame, and writes the overlays as `stem` + "_overlay.mp4"; an odd last row or column is left out, as
/// the format knows even sizes only. What is decoded and encoded is OpenCV's.
///
/// @param frames also writes each frame's class map into the folder `stem` + "_classes".
/// @returns the number of frames.
/// @throws UserError where the video cannot be read or written, and in a program without OpenCV.
int segment_video(const std::filesystem::path& file, const std::filesystem::path& stem, Segmenter& segmenter,
                  const Description& description, bool frames);

}  // namespace segment
