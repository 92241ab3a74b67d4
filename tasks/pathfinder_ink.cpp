#include "tasks/pathfinder_ink.hpp"

#include <algorithm>
#include <cmath>

namespace vla {
namespace {

constexpr int kSamples = 4;  // across a pixel

double squared_distance(PathfinderPoint point, const PathfinderDash& dash) {
  const double along_y = dash.head.y - dash.tail.y, along_x = dash.head.x - dash.tail.x;
  const double y = point.y - dash.tail.y, x = point.x - dash.tail.x;
  const double squared_length = along_y * along_y + along_x * along_x;
  const double place =
      squared_length > 0 ? std::clamp((y * along_y + x * along_x) / squared_length, 0.0, 1.0) : 0;
  const double off_y = y - place * along_y, off_x = x - place * along_x;
  return off_y * off_y + off_x * off_x;
}

// The share of a pixel that is within `radius` of a dash.
double pixel_share(PathfinderPoint pixel, const PathfinderDash& dash, double radius) {
  const double distance = std::sqrt(squared_distance(pixel, dash));
  constexpr double kCorner = 0.7072;  // of a pixel, from its middle
  if (distance >= radius + kCorner) return 0;
  if (distance <= radius - kCorner) return 1;
  int inside = 0;
  for (int sample = 0; sample < kSamples * kSamples; ++sample) {
    const auto offset = [](int i) { return (i + 0.5) / kSamples - 0.5; };
    const PathfinderPoint point{pixel.y + offset(sample / kSamples),
                                pixel.x + offset(sample % kSamples)};
    inside += squared_distance(point, dash) <= radius * radius;
  }
  return static_cast<double>(inside) / (kSamples * kSamples);
}

}  // namespace

Coverage coverage(const PathfinderDash& dash, double radius, Index side) {
  const auto from = [&](double a, double b) {
    return std::max<Index>(0, static_cast<Index>(std::floor(std::min(a, b) - radius)));
  };
  const auto to = [&](double a, double b) {
    return std::min<Index>(side - 1, static_cast<Index>(std::ceil(std::max(a, b) + radius)));
  };
  Coverage result;
  for (Index y = from(dash.tail.y, dash.head.y); y <= to(dash.tail.y, dash.head.y); ++y)
    for (Index x = from(dash.tail.x, dash.head.x); x <= to(dash.tail.x, dash.head.x); ++x) {
      const double share =
          pixel_share({static_cast<double>(y), static_cast<double>(x)}, dash, radius);
      if (share > 0) result.push_back({static_cast<std::size_t>(y * side + x), share});
    }
  return result;
}

void lay(const Coverage& covered, double strength, Layer& layer) {
  for (const auto& [pixel, share] : covered)
    layer[pixel] = std::max(layer[pixel], strength * share);
}

double peak(const Coverage& covered, const Layer& layer) {
  double highest = 0;
  for (const auto& [pixel, share] : covered) highest = std::max(highest, layer[pixel] + share);
  return highest;
}

double peak(const Coverage& covered, const Coverage& other) {
  double highest = 0;
  auto there = other.begin();
  for (const auto& [pixel, share] : covered) {
    while (there != other.end() && there->pixel < pixel) ++there;
    const bool both = there != other.end() && there->pixel == pixel;
    highest = std::max(highest, share + (both ? there->share : 0));
  }
  return highest;
}

}  // namespace vla
