#pragma once

#include <stdexcept>

namespace segment {

/// What the user can correct, in one line: which file or flag, what is wrong with it, and what to do.
struct UserError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace segment
