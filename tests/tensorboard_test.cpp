// Event files of TensorBoard, read back by another reader of the format, and by TensorBoard's own.
#include "tools/tensorboard.hpp"

#include <bit>
#include <cstring>

#include "tests/compare.hpp"
#include "tests/optional.hpp"
#include "tests/report_files.hpp"

namespace vla {
namespace {

// A file is of records, a record of fields.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  bool at_end() const { return bytes_.empty(); }
  std::string_view take(std::size_t count) {
    BOOST_REQUIRE(count <= bytes_.size());
    const std::string_view taken = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return taken;
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = number<std::uint8_t>();
      value |= static_cast<std::uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
  }
  std::string_view text() { return take(varint()); }

  // The bytes of the next record, with both checksums looked at.
  std::string_view record() {
    const std::string_view length = bytes_.substr(0, 8);
    const auto size = number<std::uint64_t>();
    check_sum(length);
    const std::string_view data = take(size);
    check_sum(data);
    return data;
  }

 private:
  void check_sum(std::string_view bytes) {
    const std::uint32_t rotated = number<std::uint32_t>() - 0xa282ead8u;
    BOOST_TEST(crc32c(bytes) == ((rotated >> 17) | (rotated << 15)));
  }

  std::string_view bytes_;
};

struct Event {
  double wall_time = 0;
  std::uint64_t step = 0;
  std::string version;
  std::map<std::string, float> scalars;
};

void read_scalar(Reader value, Event& event) {
  std::string tag;
  while (!value.at_end()) {
    const std::uint64_t key = value.varint();
    if (key == (1 << 3 | 2)) {
      tag = value.text();
    } else {
      BOOST_REQUIRE_EQUAL(key, 2 << 3 | 5);
      event.scalars[tag] = value.number<float>();
    }
  }
}

Event read_event(Reader fields) {
  Event event;
  while (!fields.at_end()) {
    switch (fields.varint()) {
      case 1 << 3 | 1:
        event.wall_time = fields.number<double>();
        break;
      case 2 << 3 | 0:
        event.step = fields.varint();
        break;
      case 3 << 3 | 2:
        event.version = fields.text();
        break;
      case 5 << 3 | 2:
        for (Reader summary(fields.text()); !summary.at_end();) {
          BOOST_REQUIRE_EQUAL(summary.varint(), 1 << 3 | 2);
          read_scalar(Reader(summary.text()), event);
        }
        break;
      default:
        BOOST_FAIL("a field that is not known");
    }
  }
  return event;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(tensorboard)

BOOST_AUTO_TEST_CASE(the_checksum_is_castagnolis) {
  BOOST_TEST(crc32c("123456789") == 0xE3069283u);
  BOOST_TEST(crc32c("") == 0u);
  BOOST_TEST(crc32c(std::string(32, '\0')) == 0x8A9136AAu);  // RFC 3720, B.4
  BOOST_TEST(crc32c(std::string(32, '\xff')) == 0x62A8AB43u);
}

BOOST_AUTO_TEST_CASE(the_events_are_the_metrics) {
  const std::vector<Metrics> lines = {{.step = 10,
                                       .loss = 2.5,
                                       .accuracy = 0.25,
                                       .tokens_per_second = 1000,
                                       .more = {{"seconds", 3}, {"rate", 0.5}}},
                                      {.step = 300000,
                                       .loss = -1e-3,
                                       .accuracy = 0.75,
                                       .tokens_per_second = 2000,
                                       .more = {{"seconds", 7}}},
                                      {.split = "held-out",
                                       .step = 300000,
                                       .loss = 0.5,
                                       .accuracy = 1,
                                       .tokens_per_second = 3000,
                                       .more = {{"chance", 0.125}, {"seconds", 9}}}};
  const std::string file = tensorboard_events(lines, 1009);
  Reader reader(file);
  const Event head = read_event(Reader(reader.record()));
  BOOST_TEST(head.version == "brain.Event:2");
  BOOST_TEST(head.wall_time == 1000);
  BOOST_TEST(head.scalars.empty());
  const Event first = read_event(Reader(reader.record()));
  BOOST_TEST(first.wall_time == 1003);
  BOOST_TEST(first.step == 10u);
  BOOST_TEST((first.scalars == std::map<std::string, float>{{"loss", 2.5f},
                                                            {"accuracy", 0.25f},
                                                            {"tokens_per_second", 1000.f},
                                                            {"seconds", 3.f},
                                                            {"rate", 0.5f}}));
  const Event second = read_event(Reader(reader.record()));
  BOOST_TEST(second.step == 300000u);
  BOOST_TEST(second.scalars.at("loss") == -1e-3f);
  const Event last = read_event(Reader(reader.record()));
  BOOST_TEST(last.wall_time == 1009);
  BOOST_TEST(last.scalars.at("held-out/accuracy") == 1.f);
  BOOST_TEST(last.scalars.at("held-out/chance") == 0.125f);
  BOOST_TEST(!last.scalars.contains("accuracy"));
  BOOST_TEST(reader.at_end());
}

BOOST_AUTO_TEST_CASE(every_run_has_a_file_below_the_page) {
  const Place place;
  write_run(place / "runs/a", report_options("vla", 1), {{4, 0.1}, {2, 0.5}});
  write_run(place / "runs/b", report_options("vla", 2), {{4, 0.1}});
  const Outcome outcome = place.run("report runs/a ../" + place.path().filename().string() +
                                    "/runs/b --out out --tensorboard");
  BOOST_TEST(outcome.errors == "");
  BOOST_TEST(outcome.out.ends_with("wrote out/index.html\nwrote out/tensorboard\n"));
  for (const char* run : {"a", "b"})
    BOOST_TEST(place.has(concatenate("out/tensorboard/runs/", run, "/events.out.tfevents.vla")));
  const TemporaryDirectory elsewhere;
  write_run(elsewhere / "c", report_options("vla", 1), {{4, 0.1}});
  BOOST_TEST(place.run("report " + (elsewhere / "c").string() + " --out out --tensorboard").code ==
             0);
  const std::string far =
      (std::filesystem::canonical(elsewhere.path()) / "c").relative_path().string();
  BOOST_TEST(place.has("out/tensorboard/" + far + "/events.out.tfevents.vla"));
}

BOOST_AUTO_TEST_CASE(tensorboard_reads_it,
                     *boost::unit_test::precondition(has_python_package("tensorboard"))) {
  const Place place;
  write_run(place / "run", report_options("vla", 1), {{4, 0.125}, {2, 0.5}});
  BOOST_TEST(place.run("report run --out out --tensorboard").errors == "");
  write_file(place / "read.py", R"(
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator("out/tensorboard/run").Reload()
for tag in sorted(events.Tags()["scalars"]):
    print(tag, [(e.step, round(e.value, 6)) for e in events.Scalars(tag)])
)");
  const Outcome outcome = Place::run_in(place.path(), python(), "read.py");
  BOOST_TEST(outcome.code == 0, outcome.errors);
  for (const char* line :
       {"accuracy [(10, 0.125), (20, 0.5)]\n", "held-out/accuracy [(20, 0.95)]\n",
        "held-out/chance [(20, 0.25)]\n", "loss [(10, 4.0), (20, 2.0)]\n",
        "tokens_per_second [(10, 1000.0), (20, 1000.0)]\n"})
    BOOST_TEST((outcome.out.find(line) != std::string::npos), line << " is not in " << outcome.out);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
