/// Videos without OpenCV: none.

#include "error.h"
#include "video.h"

namespace segment {

int segment_video(const std::filesystem::path& file, const std::filesystem::path&, Segmenter&, const Description&,
                  bool) {
    throw UserError(file.string() + ": a video; this program was built without OpenCV, which reads them");
}

}  // namespace segment
