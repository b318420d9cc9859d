/// The program `segment`: an export of tool.export and images in, class maps and overlays out.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <set>
#include <string>
#include <vector>

#include "description.h"
#include "error.h"
#include "image_file.h"
#include "options.h"
#include "overlay.h"
#include "segmenter.h"
#include "video.h"

namespace {

using namespace segment;

/// A line for each class that occurs: its share of the pixels and its name, the largest first.
void print_shares(const ByteMap& classes, const std::vector<ClassInfo>& names) {
    std::vector<std::pair<std::size_t, std::string>> counts;
    for (std::size_t id = 0; id < 256; ++id) {
        const auto count = std::count(classes.values.begin(), classes.values.end(), static_cast<std::uint8_t>(id));
        if (count > 0) {
            counts.emplace_back(static_cast<std::size_t>(count), id < names.size() ? names[id].name : "(unknown)");
        }
    }
    std::stable_sort(counts.begin(), counts.end(),
                     [](const auto& one, const auto& other) { return one.first > other.first; });
    for (const auto& [count, name] : counts) {
        std::printf("  %5.1f %%  %s\n", 100.0 * static_cast<double>(count) / static_cast<double>(classes.values.size()),
                    name.c_str());
    }
}

void segment_image(const std::filesystem::path& file, const std::filesystem::path& stem, Segmenter& segmenter,
                   const Description& description) {
    const Image image = read_image(file);
    const Segmentation found = segmenter(image);
    const auto classes = write_map(stem.string() + "_classes", found.classes);
    write_image(stem.string() + "_overlay", overlay(image, found.classes, description.classes));
    if (found.confidence) {
        ByteMap grey(image.size);
        std::transform(found.confidence->values.begin(), found.confidence->values.end(), grey.values.begin(),
                       [](float value) { return static_cast<std::uint8_t>(std::nearbyint(255 * value)); });
        write_map(stem.string() + "_confidence", grey);
    }
    std::printf("%s: %s\n", file.string().c_str(), classes.string().c_str());
    print_shares(found.classes, description.classes);
}

/// Where the results of each source go; two sources of one name would overwrite each other.
std::vector<std::filesystem::path> stems(const Options& options) {
    std::vector<std::filesystem::path> found;
    std::set<std::filesystem::path> names;
    for (const auto& source : options.sources) {
        if (!names.insert(source.stem()).second) {
            throw UserError(source.string() +
                            ": another image has the same name; give them one by one, each with its --save_dir");
        }
        found.push_back(options.save_dir / source.stem());
    }
    return found;
}

void run(const Options& options) {
    const Description description = read_description(options.folder);
    const std::vector<std::filesystem::path> targets = stems(options);
    const auto network = open_network(options.folder, description, options.choice);
    Segmenter segmenter(*network, description, options.unknown_below);
    std::error_code failure;
    std::filesystem::create_directories(options.save_dir, failure);
    if (failure) {
        throw UserError(options.save_dir.string() + ": cannot be made (" + failure.message() + ")");
    }
    for (std::size_t index = 0; index < targets.size(); ++index) {
        const std::filesystem::path& source = options.sources[index];
        if (is_video(source)) {
            const int frames = segment_video(source, targets[index], segmenter, description, options.frames);
            std::printf("%s: %d frames, %s_overlay.mp4\n", source.string().c_str(), frames,
                        targets[index].string().c_str());
        } else {
            segment_image(source, targets[index], segmenter, description);
        }
    }
}

}  // namespace

int main(int count, char** words) {
    try {
        const Options options = parse(std::vector<std::string>(words + 1, words + count));
        if (options.help) {
            std::fputs(USAGE, stdout);
            return 0;
        }
        run(options);
        return 0;
    } catch (const UsageError& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 2;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
}
