#pragma once

#include <filesystem>
#include <string>

#include "image.h"

namespace segment {

/// Reads a binary PPM or PGM file, and with OpenCV whatever it decodes; of 16 bits the upper 8.
///
/// @throws UserError for a file that is missing, not whole, or in a form that this program was not built for.
Image read_image(const std::filesystem::path& file);

/// Writes `stem` + ".png" with OpenCV, and ".ppm" without.
///
/// @returns the file's name.
/// @throws UserError where that fails.
std::filesystem::path write_image(const std::filesystem::path& stem, const Image& image);

/// Writes `stem` + ".png" with OpenCV, and ".pgm" without: the values themselves.
std::filesystem::path write_map(const std::filesystem::path& stem, const ByteMap& map);

/// All bytes of a file, and the other way round.
std::string read_bytes(const std::filesystem::path& file);
void write_bytes(const std::filesystem::path& file, const char* bytes, std::size_t count);

/// Whether a PNG or JPEG lacks its end mark: OpenCV returns the rest of such an image grey or black.
///
/// Bytes after the mark are fine: phones append videos, cameras thumbnails.
bool is_truncated(const std::string& bytes);

/// The orientation that the EXIF of a WebP states, 1 (upright) to 8; 1 for any other file, and where it states none.
int webp_orientation(const std::string& bytes);

/// Binary PPM (P6) or PGM (P5) of 8 bits.
///
/// @throws UserError, naming the file, for a header of another form, and for a file that ends early.
Image decode_netpbm(const std::string& bytes, const std::filesystem::path& file);

/// Any other form: by OpenCV PNG, JPEG, TIFF and more, turned upright as the file's EXIF says; without it a UserError.
///
/// @throws UserError also for a WebP that is not stored upright: OpenCV does not turn those.
Image decode_other(const std::string& bytes, const std::filesystem::path& file);

}  // namespace segment
