#include "tasks/pathfinder_image.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

namespace vla {
namespace {

constexpr int kDashTrials = 3, kDistractorTrials = 5, kSeedTrials = 200;
constexpr double kOverlap = 1.8;   // of two dashes and their gaps, at one pixel
constexpr double kOccupied = 0.3;  // a pixel on which no path begins

PathfinderPoint moved(PathfinderPoint from, double direction, double distance) {
  return {from.y + distance * std::sin(direction), from.x + distance * std::cos(direction)};
}

PathfinderPoint nearest_pixel(PathfinderPoint point) {
  return {std::round(point.y), std::round(point.x)};
}

// A path that grows. Its last dash is not yet in the layer of occupied places, as the next one
// comes near it.
struct Growing {
  PathfinderPath path = {};
  Coverage last = {};          // the last dash with its gap
  PathfinderPoint pivot = {};  // where the last dash would begin if it had no gap
  double direction = 0;
};

// What is drawn so far.
class Canvas {
 public:
  Canvas(const PathfinderRule& rule, Rng& rng)
      : rule_(rule),
        rng_(rng),
        gap_(rule.gaps[static_cast<std::size_t>(rng.below(static_cast<Index>(rule.gaps.size())))]),
        occupied_(static_cast<std::size_t>(rule.side * rule.side)) {
    for (Index y = 0; y < rule.side; ++y)
      for (Index x = 0; x < rule.side; ++x)
        if (std::min({y, x, rule.side - 1 - y, rule.side - 1 - x}) < rule.border)
          occupied_[static_cast<std::size_t>(y * rule.side + x)] = 1;
  }

  Index gap() const { return gap_; }
  bool has(PathfinderPoint point) const {
    const double last = static_cast<double>(rule_.side - 1);
    return point.y >= 0 && point.x >= 0 && point.y <= last && point.x <= last;
  }

  // Both long paths, if there is room for them.
  std::optional<std::array<PathfinderPath, 2>> draw_contours() {
    std::array<Growing, 2> growing;
    if (!seed_pair(growing)) return std::nullopt;
    for (Index i = 1; i < rule_.contour; ++i)
      for (int which = 0; which < 2; ++which)
        if (!extend(growing[which], &growing[1 - which])) return std::nullopt;
    for (const Growing& one : growing) lay(one.last, 1, occupied_);
    return std::array{growing[0].path, growing[1].path};
  }

  // A short path, if there is room for it.
  std::optional<PathfinderPath> draw_distractor() {
    const Layer before = occupied_;
    for (int trial = 0; trial < kDistractorTrials; ++trial) {
      Growing growing;
      bool grown = seed(growing, rule_.border);
      for (Index i = 1; grown && i < rule_.distractor_dashes; ++i) grown = extend(growing, nullptr);
      if (grown) {
        lay(growing.last, 1, occupied_);
        return growing.path;
      }
      occupied_ = before;
    }
    return std::nullopt;
  }

 private:
  double whole_degrees() {
    return static_cast<double>(rng_.below(360) - 180) * std::numbers::pi / 180;
  }

  Coverage with_gap(const PathfinderDash& dash) const {
    return coverage(dash, rule_.thickness / 2 + static_cast<double>(gap_), rule_.side);
  }

  // The first dash of a path, from a place on; false if it does not lie in the image.
  bool begin(PathfinderPoint tail, Growing& growing) {
    growing.direction = whole_degrees();
    const PathfinderPoint head = moved(tail, growing.direction, static_cast<double>(rule_.dash));
    growing.pivot = nearest_pixel(moved(tail, growing.direction, -static_cast<double>(gap_)));
    if (!has(tail) || !has(head) || !has(growing.pivot)) return false;
    growing.path = {{tail, head}};
    growing.last = with_gap(growing.path.back());
    return true;
  }

  // The first dash of a path, anywhere that is free and `margin` or more from the edges.
  bool seed(Growing& growing, Index margin) {
    const Index places = rule_.side - 2 * margin;
    for (int trial = 0; trial < kSeedTrials; ++trial) {
      const auto place = [&] { return static_cast<double>(margin + rng_.below(places)); };
      const double y = place();
      const PathfinderPoint tail{y, place()};
      if (occupied_[pixel(tail)] > kOccupied || !begin(tail, growing)) continue;
      if (std::ranges::none_of(growing.last, [&](const Covered& covered) {
            return covered.share > 0.5 && occupied_[covered.pixel] > kOccupied;
          }))
        return true;
    }
    return false;
  }

  bool seed_pair(std::array<Growing, 2>& growing) {
    if (!seed(growing[0], 2 * rule_.seed_distance)) return false;
    for (int trial = 0; trial < kDashTrials; ++trial) {
      const PathfinderPoint tail =
          moved(growing[0].path[0].tail, whole_degrees(), static_cast<double>(rule_.seed_distance));
      if (begin(tail, growing[1]) && peak(growing[1].last, occupied_) < kOverlap &&
          peak(growing[1].last, growing[0].last) < kOverlap)
        return true;
    }
    return false;
  }

  // How much is occupied within the gap of a pixel.
  double occupied_around(PathfinderPoint point) const {
    double highest = 0;
    for (Index dy = -gap_; dy <= gap_; ++dy)
      for (Index dx = -gap_; dx <= gap_; ++dx) {
        const PathfinderPoint near{point.y + static_cast<double>(dy),
                                   point.x + static_cast<double>(dx)};
        if (dy * dy + dx * dx <= gap_ * gap_ && has(near))
          highest = std::max(highest, occupied_[pixel(near)]);
      }
    return highest;
  }
  std::size_t pixel(PathfinderPoint point) const {
    return static_cast<std::size_t>(point.y) * static_cast<std::size_t>(rule_.side) +
           static_cast<std::size_t>(point.x);
  }

  struct Candidate {
    PathfinderPoint head;
    double direction, weight;
  };

  // The pixels of the circle on which a dash from (0, 0), with a gap before it, may end.
  std::vector<Candidate> circle() const {
    const double radius = static_cast<double>(rule_.dash + gap_);
    const int steps = static_cast<int>(std::ceil(2 * std::numbers::pi * radius));
    std::vector<Candidate> result;
    for (int step = 0; step < steps; ++step) {
      const PathfinderPoint head =
          nearest_pixel(moved({}, 2 * std::numbers::pi * step / steps, radius));
      if (std::ranges::none_of(result, [&](const Candidate& other) {
            return other.head.y == head.y && other.head.x == head.x;
          }))
        result.push_back({head, std::atan2(head.y, head.x), 0});
    }
    return result;
  }

  // Where a next dash from the pivot may end, and how likely.
  std::vector<Candidate> candidates(PathfinderPoint pivot, double before) const {
    std::vector<Candidate> result;
    for (auto [head, direction, weight] : circle_) {
      head = {head.y + pivot.y, head.x + pivot.x};
      const double turn = std::abs(std::remainder(direction - before, 2 * std::numbers::pi));
      if (!has(head) || rule_.continuity * turn >= std::numbers::pi / 2) continue;
      const double along = std::cos(rule_.continuity * turn);
      result.push_back({head, direction, along * along * (1 - occupied_around(head))});
    }
    return result;
  }

  // Adds a dash to a path, which keeps off all others and, but for the one before, its own.
  bool extend(Growing& growing, const Growing* other) {
    const PathfinderPoint pivot = nearest_pixel(
        moved(growing.pivot, growing.direction, static_cast<double>(rule_.dash + 2 * gap_)));
    const std::vector<Candidate> all = candidates(pivot, growing.direction);
    double total = 0;
    for (const Candidate& one : all) total += one.weight;
    if (total < 1e-4) return false;
    for (int trial = 0; trial < kDashTrials; ++trial) {
      double left = rng_.uniform() * total;
      auto chosen = all.begin();
      while (chosen + 1 != all.end() && (left -= chosen->weight) >= 0) ++chosen;
      const PathfinderDash dash{
          moved(chosen->head, chosen->direction, -static_cast<double>(rule_.dash)), chosen->head};
      Coverage covered = with_gap(dash);
      if (peak(covered, occupied_) >= kOverlap) continue;
      if (other != nullptr && peak(covered, other->last) >= kOverlap) continue;
      lay(growing.last, 1, occupied_);
      growing.path.push_back(dash);
      growing.last = std::move(covered);
      growing.pivot = pivot;
      growing.direction = chosen->direction;
      return true;
    }
    return false;
  }

  const PathfinderRule& rule_;
  Rng& rng_;
  Index gap_;
  std::vector<Candidate> circle_ = circle();
  Layer occupied_;
};

// The brightest of all layers at each pixel, scaled to 255.
std::vector<std::uint8_t> render(const PathfinderRule& rule, const PathfinderImage& image) {
  Layer light(static_cast<std::size_t>(rule.side * rule.side));
  for (std::size_t i = 0; i < image.paths.size(); ++i)
    for (const PathfinderDash& dash : image.paths[i])
      lay(coverage(dash, rule.thickness / 2, rule.side),
          i < 2 ? rule.contour_contrast : rule.distractor_contrast, light);
  for (const PathfinderPoint mark : image.marks)
    lay(coverage({mark, mark}, rule.mark, rule.side), 1, light);
  const double brightest = std::ranges::max(light);
  std::vector<std::uint8_t> pixels(light.size());
  std::ranges::transform(light, pixels.begin(), [&](double value) {
    return static_cast<std::uint8_t>(std::lround(255 * value / brightest));
  });
  return pixels;
}

}  // namespace

PathfinderRule pathfinder_rule(Index side, Index contour) {
  check(contour == 6 || contour == 9 || contour == 14, "pathfinder: contour ", contour,
        " is not allowed; 6, 9 or 14");
  // Dashes of all distractors together.
  const auto set = [&](Index dashes, PathfinderRule sizes) {
    sizes.side = side;
    sizes.contour = contour;
    sizes.distractor_dashes = contour / 3;
    sizes.distractors = dashes / sizes.distractor_dashes;
    return sizes;
  };
  switch (side) {
    case 32:
      return set(20, {});
    case 64:
      return set(22, {.dash = 5,
                      .thickness = 1,
                      .continuity = 1.8,
                      .seed_distance = 12,
                      .mark = 2.5,
                      .contour_contrast = 0.8,
                      .distractor_contrast = 0.8});
    case 128:
      return set(35, {.dash = 5,
                      .thickness = 1.5,
                      .gaps = {2, 3},
                      .continuity = 1.8,
                      .seed_distance = 20,
                      .mark = 3,
                      .contour_contrast = 0.9,
                      .distractor_contrast = 0.9});
    case 256:
      return set(30, {.dash = 5,
                      .thickness = 2,
                      .gaps = {3},
                      .continuity = 1.8,
                      .seed_distance = 27,
                      .border = 22,
                      .mark = 5,
                      .contour_contrast = 1,
                      .distractor_contrast = 1});
    default:
      fail("pathfinder: images of ", side, " pixels a side are not allowed; 32, 64, 128 or 256");
  }
}

PathfinderImage draw_pathfinder(const PathfinderRule& rule, Rng& rng) {
  PathfinderImage image;
  image.connected = rng.below(2) == 1;
  std::optional<Canvas> canvas;
  std::optional<std::array<PathfinderPath, 2>> contours;
  while (!contours) {
    canvas.emplace(rule, rng);
    contours = canvas->draw_contours();
  }
  image.gap = canvas->gap();
  image.paths.assign(contours->begin(), contours->end());
  for (Index i = 0; i < rule.distractors; ++i)
    if (std::optional<PathfinderPath> path = canvas->draw_distractor())
      image.paths.push_back(std::move(*path));
  const auto start = static_cast<std::size_t>(rng.below(2));
  const std::size_t end = image.connected ? start : 1 - start;
  image.marks = {image.paths[start].front().tail, image.paths[end].back().head};
  image.pixels = render(rule, image);
  return image;
}

}  // namespace vla
