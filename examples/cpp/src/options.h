#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "network.h"

namespace segment {

/// The command line of the program.
struct Options {
    std::filesystem::path folder;
    std::vector<std::filesystem::path> sources;
    Choice choice{"", "fp32", 0};
    double unknown_below = 0;
    std::filesystem::path save_dir = "segmented";
    bool frames = false;
    bool help = false;
};

/// A wrong command line.
struct UsageError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

extern const char* const USAGE;

/// @throws UsageError, naming the argument.
Options parse(const std::vector<std::string>& arguments);

}  // namespace segment
