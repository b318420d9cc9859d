#include "image_file.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <string>

#include "error.h"

namespace segment {

namespace {

constexpr int LONGEST_SIDE = 1 << 15;
constexpr char PNG_END[] = "IEND\xae\x42\x60\x82";
constexpr char JPEG_END[] = "\xff\xd9";
constexpr char JPEG_SCAN = '\xda';  // marker of a segment that pixels follow

/// Where the first scan of a JPEG begins: the segments before it may hold a thumbnail, a whole JPEG of its own.
std::size_t jpeg_scan(const std::string& bytes) {
    const auto here = [&bytes](std::size_t index) { return static_cast<unsigned char>(bytes[index]); };
    std::size_t at = 2;
    while (at + 4 <= bytes.size() && bytes[at + 1] != JPEG_SCAN) {
        at += 2 + here(at + 2) * 256U + here(at + 3);
    }
    return at;
}

/// The number of `count` bytes at `at`, 0 beyond the end.
std::size_t number_at(const std::string& bytes, std::size_t at, std::size_t count, bool big_endian) {
    std::size_t value = 0;
    for (std::size_t index = 0; index < count && at + count <= bytes.size(); ++index) {
        value = value * 256 + static_cast<unsigned char>(bytes[at + (big_endian ? index : count - 1 - index)]);
    }
    return value;
}

/// The orientation in an EXIF block, which is a TIFF header and its first directory; 1 where there is none.
int exif_orientation(const std::string& exif) {
    constexpr std::size_t ENTRY = 12;  // bytes: tag, type, count, value
    constexpr std::size_t ORIENTATION = 0x112;
    const bool big_endian = exif.compare(0, 2, "MM") == 0;
    const std::size_t directory = number_at(exif, 4, 4, big_endian);
    const std::size_t entries = number_at(exif, directory, 2, big_endian);
    for (std::size_t at = directory + 2; at < directory + 2 + entries * ENTRY; at += ENTRY) {
        if (number_at(exif, at, 2, big_endian) == ORIENTATION) {
            const int value = static_cast<int>(number_at(exif, at + 8, 2, big_endian));
            return value >= 1 && value <= 8 ? value : 1;
        }
    }
    return 1;
}

/// The next number of a Netpbm header, from `at` on; -1 where there is none. Comments run from # to the line's end.
int header_number(const std::string& bytes, std::size_t& at) {
    const auto here = [&bytes](std::size_t index) { return static_cast<unsigned char>(bytes[index]); };
    while (at < bytes.size() && (std::isspace(here(at)) != 0 || bytes[at] == '#')) {
        at = bytes[at] == '#' ? bytes.find('\n', at) : at + 1;
        if (at == std::string::npos) {
            return -1;
        }
    }
    int value = -1;
    for (; at < bytes.size() && std::isdigit(here(at)) != 0 && value < 1 << 20; ++at) {
        value = (value < 0 ? 0 : value * 10) + (bytes[at] - '0');
    }
    return value;
}

}  // namespace

std::string read_bytes(const std::filesystem::path& file) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream || !std::filesystem::is_regular_file(file)) {
        throw UserError(file.string() + ": no such file, or it cannot be read");
    }
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

void write_bytes(const std::filesystem::path& file, const char* bytes, std::size_t count) {
    std::ofstream stream(file, std::ios::binary);
    stream.write(bytes, static_cast<std::streamsize>(count));
    stream.close();
    if (!stream) {
        throw UserError(file.string() + ": cannot be written; choose another --save_dir, or make room");
    }
}

bool is_truncated(const std::string& bytes) {
    if (bytes.compare(0, 4, "\x89PNG") == 0) {
        return bytes.find(PNG_END) == std::string::npos;
    }
    if (bytes.compare(0, 2, "\xff\xd8") != 0) {
        return false;
    }
    const std::size_t tail = bytes.size() - std::min<std::size_t>(bytes.size(), 64);
    return bytes.find(JPEG_END, tail) == std::string::npos &&
           bytes.find(JPEG_END, jpeg_scan(bytes)) == std::string::npos;
}

int webp_orientation(const std::string& bytes) {
    constexpr std::size_t HEAD = 8;  // bytes before a chunk's content: its name and length
    if (bytes.compare(0, 4, "RIFF") != 0 || bytes.size() < 12 || bytes.compare(8, 4, "WEBP") != 0) {
        return 1;
    }
    for (std::size_t at = 12; at + HEAD <= bytes.size();) {
        const std::size_t length = number_at(bytes, at + 4, 4, false);
        if (bytes.compare(at, 4, "EXIF") == 0) {
            const std::string content = bytes.substr(at + HEAD, length);
            const bool has_name = content.size() > 6 && content.compare(0, 4, "Exif") == 0;  // as in a JPEG
            return exif_orientation(has_name ? content.substr(6) : content);
        }
        at += HEAD + length + length % 2;
    }
    return 1;
}

Image decode_netpbm(const std::string& bytes, const std::filesystem::path& file) {
    const int channels = bytes[1] == '6' ? 3 : 1;
    std::size_t at = 2;
    const int width = header_number(bytes, at);
    const int height = header_number(bytes, at);
    const int most = header_number(bytes, at);
    if (width < 1 || height < 1 || width > LONGEST_SIDE || height > LONGEST_SIDE || most != 255) {
        throw UserError(file.string() + ": not a PPM or PGM file of 8 bits, with sides up to " +
                        std::to_string(LONGEST_SIDE));
    }
    const std::size_t start = at + 1;  // behind the one space that ends the header
    const Size size{height, width};
    const std::size_t values = size.pixels() * static_cast<std::size_t>(channels);
    if (bytes.size() < start + values) {
        throw UserError(file.string() + ": not a complete image file: it ends early");
    }
    Image image(size);
    for (std::size_t index = 0; index < image.values.size(); ++index) {
        image.values[index] = static_cast<std::uint8_t>(bytes[start + (channels == 3 ? index : index / 3)]);
    }
    return image;
}

Image read_image(const std::filesystem::path& file) {
    const std::string bytes = read_bytes(file);
    if (bytes.compare(0, 2, "P6") == 0 || bytes.compare(0, 2, "P5") == 0) {
        return decode_netpbm(bytes, file);
    }
    return decode_other(bytes, file);
}

}  // namespace segment
