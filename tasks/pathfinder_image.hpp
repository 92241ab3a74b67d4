// Images of Pathfinder: dashed paths, and two marks that are the ends of one path or of two.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "framework/random.hpp"
#include "tasks/pathfinder_ink.hpp"

namespace vla {

/// The dashes of a line, from end to end.
using PathfinderPath = std::vector<PathfinderDash>;

/// How images of one kind are drawn. Lengths are in pixels.
struct PathfinderRule {
  Index side = 32;
  Index contour = 14;             ///< dashes of each of the two long paths
  Index distractors = 5;          ///< short paths, at most
  Index distractor_dashes = 4;    ///< of each
  Index dash = 2;                 ///< length of a dash
  double thickness = 0.5;         ///< of a dash
  std::vector<Index> gaps = {1};  ///< half of the gap between dashes, drawn anew for each image
  double continuity = 1;          ///< how much the next dash avoids a turn
  Index seed_distance = 7;        ///< between the starts of the long paths
  Index border = 1;               ///< without paths
  double mark = 1.5;              ///< radius
  double contour_contrast = 1.5, distractor_contrast = 2;
};

/// The rule of the Long Range Arena for images of 32, 64, 128 or 256 pixels a side, with long paths
/// of `contour` dashes (6, 9 or 14). Throws Error for others.
PathfinderRule pathfinder_rule(Index side, Index contour = 14);

/// A drawn image and its class.
struct PathfinderImage {
  bool connected = false;             ///< whether the marks are the ends of one path
  std::vector<std::uint8_t> pixels;   ///< row after row, the brightest 255
  std::vector<PathfinderPath> paths;  ///< the two long ones, then the distractors
  std::array<PathfinderPoint, 2> marks;
  Index gap = 0;
};

/// Draws an image, connected with probability 1/2. Two long paths grow dash by dash in turn, from
/// places seed_distance apart; then distractors do, of which one that finds no place is left out.
/// From the end of a gap the next dash leads to a pixel of the circle around it, drawn with weight
/// cos^2(min(continuity * turn, pi / 2)) times how free the place is. A dash that would come nearer
/// than the gap to another one that is not its neighbour is drawn anew; if none of three is free,
/// the path begins anew, the long ones both. Source: snakes2.py of drewlinsley/pathfinder, which
/// does not look at the last dash of the other path; here no two paths touch.
PathfinderImage draw_pathfinder(const PathfinderRule& rule, Rng& rng);

}  // namespace vla
