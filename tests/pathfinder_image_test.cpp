// Images of Pathfinder: what the rule says of paths, dashes and marks holds in every image.
#include "tasks/pathfinder_image.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <map>
#include <numbers>

#include "tests/compare.hpp"

namespace vla {
namespace {

// A few; those of 64 pixels take the longest.
const std::vector<PathfinderImage>& images_of(Index side) {
  static std::map<Index, std::vector<PathfinderImage>> made;
  std::vector<PathfinderImage>& images = made[side];
  const std::size_t count = side == 32 ? 150 : side == 64 ? 10 : 20;
  Rng rng(7);
  while (images.size() < count) images.push_back(draw_pathfinder(pathfinder_rule(side), rng));
  return images;
}

double distance(PathfinderPoint a, PathfinderPoint b) { return std::hypot(a.y - b.y, a.x - b.x); }

PathfinderPoint along(const PathfinderDash& dash, double share) {
  return {dash.tail.y + share * (dash.head.y - dash.tail.y),
          dash.tail.x + share * (dash.head.x - dash.tail.x)};
}

// Of the middle lines of two dashes, as near as 11 places on each tell.
double distance(const PathfinderDash& a, const PathfinderDash& b) {
  double least = 1e9;
  for (int i = 0; i <= 10; ++i)
    for (int j = 0; j <= 10; ++j)
      least = std::min(least, distance(along(a, i / 10.0), along(b, j / 10.0)));
  return least;
}

bool same(PathfinderPoint a, PathfinderPoint b) { return a.y == b.y && a.x == b.x; }

}  // namespace

BOOST_AUTO_TEST_SUITE(pathfinder_image)

BOOST_AUTO_TEST_CASE(paths_have_the_dashes_of_the_rule) {
  for (Index side : {32, 64, 128, 256}) {
    const PathfinderRule rule = pathfinder_rule(side);
    double distractors = 0;
    const std::vector<PathfinderImage>& images = images_of(side);
    for (const PathfinderImage& image : images) {
      BOOST_REQUIRE(image.paths.size() >= 2u);
      BOOST_TEST(static_cast<Index>(image.paths.size()) <= 2 + rule.distractors);
      distractors += static_cast<double>(image.paths.size()) - 2;
      for (std::size_t i = 0; i < image.paths.size(); ++i) {
        const PathfinderPath& path = image.paths[i];
        BOOST_TEST(static_cast<Index>(path.size()) ==
                   (i < 2 ? rule.contour : rule.distractor_dashes));
        for (std::size_t d = 0; d < path.size(); ++d) {
          BOOST_TEST(std::abs(distance(path[d].tail, path[d].head) - double(rule.dash)) < 1e-9);
          if (d == 0) continue;
          const double gap = distance(path[d - 1].head, path[d].tail);
          BOOST_TEST(gap > 0.25 * double(image.gap));  // pivots and heads are pixels
          BOOST_TEST(gap < 2 * double(image.gap) + 2);
        }
        for (const PathfinderDash& dash : path)
          for (const PathfinderPoint end : {dash.tail, dash.head})
            BOOST_TEST((std::min(end.y, end.x) >= 0 && std::max(end.y, end.x) <= double(side - 1)));
      }
      BOOST_TEST((std::ranges::find(rule.gaps, image.gap) != rule.gaps.end()));
    }
    BOOST_TEST(distractors / double(images.size()) > 0.7 * double(rule.distractors));
  }
}

BOOST_AUTO_TEST_CASE(paths_do_not_touch) {
  for (Index side : {32, 64, 128, 256}) {
    const PathfinderRule rule = pathfinder_rule(side);
    double nearest = 1e9, nearest_own = 1e9;
    for (const PathfinderImage& image : images_of(side))
      for (std::size_t a = 0; a < image.paths.size(); ++a)
        for (std::size_t b = 0; b <= a; ++b)
          for (std::size_t i = 0; i < image.paths[a].size(); ++i)
            for (std::size_t j = 0; j < image.paths[b].size(); ++j) {
              const double apart = distance(image.paths[a][i], image.paths[b][j]);
              if (a != b) nearest = std::min(nearest, apart);
              if (a == b && i > j + 1) nearest_own = std::min(nearest_own, apart);
            }
    BOOST_TEST_MESSAGE(side << ": nearest " << nearest << ", of one path " << nearest_own);
    // There is room between what is drawn.
    BOOST_TEST(nearest >= rule.thickness + 0.25, side);
    BOOST_TEST(nearest_own >= rule.thickness + 0.25, side);
  }
}

BOOST_AUTO_TEST_CASE(long_paths_start_apart_and_far_from_the_edges) {
  for (Index side : {32, 64, 128, 256}) {
    const PathfinderRule rule = pathfinder_rule(side);
    for (const PathfinderImage& image : images_of(side)) {
      const PathfinderPoint first = image.paths[0][0].tail, second = image.paths[1][0].tail;
      BOOST_TEST(std::abs(distance(first, second) - double(rule.seed_distance)) < 1);
      BOOST_TEST((std::min(first.y, first.x) >= 2 * double(rule.seed_distance)));
      BOOST_TEST((std::max(first.y, first.x) < double(side - 2 * rule.seed_distance)));
    }
  }
}

// Turns are sharper the lower the continuity, and never beyond a right angle by it.
BOOST_AUTO_TEST_CASE(paths_go_on_as_the_continuity_says) {
  std::vector<double> spreads;
  for (double continuity : {1.0, 1.8, 4.0}) {
    PathfinderRule rule = pathfinder_rule(256);
    rule.continuity = continuity;
    rule.contour = 6;
    Rng rng(3);
    double squares = 0, sharpest = 0;
    int turns = 0;
    for (int i = 0; i < 60; ++i) {
      const PathfinderImage image = draw_pathfinder(rule, rng);
      for (const PathfinderPath& path : {image.paths[0], image.paths[1]})
        for (std::size_t d = 1; d < path.size(); ++d, ++turns) {
          const auto direction = [](const PathfinderDash& dash) {
            return std::atan2(dash.head.y - dash.tail.y, dash.head.x - dash.tail.x);
          };
          const double turn = std::abs(
              std::remainder(direction(path[d]) - direction(path[d - 1]), 2 * std::numbers::pi));
          squares += turn * turn;
          sharpest = std::max(sharpest, turn);
        }
    }
    spreads.push_back(std::sqrt(squares / turns));
    BOOST_TEST(sharpest < std::numbers::pi / 2 / continuity + 0.4);  // ends are whole pixels
  }
  BOOST_TEST(spreads[0] > 1.2 * spreads[1]);
  BOOST_TEST(spreads[1] > 1.2 * spreads[2]);
}

BOOST_AUTO_TEST_CASE(half_of_the_images_are_connected_and_the_marks_say_so) {
  const PathfinderRule rule = pathfinder_rule(32);
  Rng rng(11);
  constexpr int kImages = 2000;
  int connected = 0, first = 0;
  for (int i = 0; i < kImages; ++i) {
    const PathfinderImage image = draw_pathfinder(rule, rng);
    connected += image.connected;
    bool found = false;
    for (std::size_t start : {0, 1}) {
      const std::size_t end = image.connected ? start : 1 - start;
      const bool here = same(image.marks[0], image.paths[start].front().tail) &&
                        same(image.marks[1], image.paths[end].back().head);
      found |= here;
      if (here && start == 0) ++first;
    }
    BOOST_TEST(found);
  }
  const double slack = 5 * std::sqrt(0.25 * kImages);
  BOOST_TEST(std::abs(connected - kImages / 2) < slack);
  BOOST_TEST(std::abs(first - kImages / 2) < slack);
}

BOOST_AUTO_TEST_CASE(pixels_show_the_paths_and_the_marks_and_nothing_else) {
  for (Index side : {32, 64, 128, 256}) {
    const PathfinderRule rule = pathfinder_rule(side);
    for (const PathfinderImage& image : images_of(side)) {
      BOOST_REQUIRE(static_cast<Index>(image.pixels.size()) == side * side);
      BOOST_TEST(std::ranges::max(image.pixels) == 255);
      const auto light = [&](PathfinderPoint point) {
        return int(image.pixels[static_cast<std::size_t>(std::lround(point.y) * side +
                                                         std::lround(point.x))]);
      };
      for (const PathfinderPoint mark : image.marks) BOOST_TEST(light(mark) > 120);
      std::vector<bool> near(image.pixels.size());
      const auto draw = [&](const PathfinderDash& dash, double radius) {
        for (Index y = 0; y < side; ++y)
          for (Index x = 0; x < side; ++x)
            if (std::hypot(double(y) - dash.tail.y, double(x) - dash.tail.x) < 2 * radius + 9)
              if (distance(PathfinderDash{{double(y), double(x)}, {double(y), double(x)}}, dash) <
                  radius + 1)
                near[static_cast<std::size_t>(y * side + x)] = true;
      };
      for (const PathfinderPath& path : image.paths)
        for (const PathfinderDash& dash : path) {
          BOOST_TEST(light(dash.head) + light(along(dash, 0.5)) > 0);
          draw(dash, rule.thickness / 2);
        }
      for (const PathfinderPoint mark : image.marks) draw({mark, mark}, rule.mark);
      bool dark = true;
      for (std::size_t i = 0; i < near.size(); ++i) dark &= near[i] || image.pixels[i] == 0;
      BOOST_TEST(dark);
      if (side > 64) break;  // one of them is enough
    }
  }
}

BOOST_AUTO_TEST_CASE(an_image_follows_from_the_generator) {
  const PathfinderRule rule = pathfinder_rule(32, 9);
  Rng first(5), again(5), other(6);
  for (int i = 0; i < 20; ++i) {
    const PathfinderImage image = draw_pathfinder(rule, first);
    BOOST_TEST((image.pixels == draw_pathfinder(rule, again).pixels));
    BOOST_TEST((image.pixels != draw_pathfinder(rule, other).pixels));
  }
}

BOOST_AUTO_TEST_CASE(other_rules_than_the_published_are_refused) {
  BOOST_TEST(pathfinder_rule(32).distractors == 5);
  BOOST_TEST(pathfinder_rule(32, 6).distractors == 10);
  BOOST_TEST(pathfinder_rule(32, 9).distractor_dashes == 3);
  BOOST_TEST(pathfinder_rule(128).distractors == 8);
  BOOST_CHECK_EXCEPTION(pathfinder_rule(48), Error,
                        says("pathfinder: images of 48 pixels a side are not allowed; 32, 64, 128 "
                             "or 256"));
  BOOST_CHECK_EXCEPTION(pathfinder_rule(32, 10), Error,
                        says("pathfinder: contour 10 is not allowed; 6, 9 or 14"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
