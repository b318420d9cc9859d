/// Images without OpenCV: PPM and PGM alone.

#include "error.h"
#include "image_file.h"

namespace segment {

namespace {

template <int Channels>
std::filesystem::path write_netpbm(const std::filesystem::path& file, const Raster<std::uint8_t, Channels>& raster) {
    std::string bytes = (Channels == 3 ? "P6\n" : "P5\n") + std::to_string(raster.size.width) + " " +
                        std::to_string(raster.size.height) + "\n255\n";
    bytes.append(raster.values.begin(), raster.values.end());
    write_bytes(file, bytes.data(), bytes.size());
    return file;
}

}  // namespace

Image decode_other(const std::string&, const std::filesystem::path& file) {
    throw UserError(file.string() + ": not a binary PPM or PGM file; build with OpenCV for other forms");
}

std::filesystem::path write_image(const std::filesystem::path& stem, const Image& image) {
    return write_netpbm(stem.string() + ".ppm", image);
}

std::filesystem::path write_map(const std::filesystem::path& stem, const ByteMap& map) {
    return write_netpbm(stem.string() + ".pgm", map);
}

}  // namespace segment
