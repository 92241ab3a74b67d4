// Dashes on a grid of pixels: what they cover, and where they meet.
#pragma once

#include <vector>

#include "framework/tensor.hpp"

namespace vla {

/// A place in an image, in pixels; the centre of the first one is (0, 0).
struct PathfinderPoint {
  double y = 0, x = 0;
};

/// A dash of a path, from the end that was there first to the other.
struct PathfinderDash {
  PathfinderPoint tail, head;
};

/// What share of a pixel, number y * side + x, a shape covers.
struct Covered {
  std::size_t pixel = 0;
  double share = 0;
};
/// The pixels that a shape covers, in order.
using Coverage = std::vector<Covered>;
/// A number for every pixel.
using Layer = std::vector<double>;

/// Of all that is within `radius` of a dash, in an image of side x side pixels; a disc if the dash
/// has no length. Shares are those of 16 places in a pixel.
Coverage coverage(const PathfinderDash& dash, double radius, Index side);

/// Makes the layer `strength` times as much as is covered, where it was less.
void lay(const Coverage& covered, double strength, Layer& layer);

/// The highest sum of what is covered and the layer, over the pixels covered.
double peak(const Coverage& covered, const Layer& layer);
/// The same for the coverage of another dash.
double peak(const Coverage& covered, const Coverage& other);

}  // namespace vla
