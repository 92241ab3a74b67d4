// A tape as text, as a graph, and its memory by op.

#include "framework/tape_picture.hpp"

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/tape.hpp"
#include "tests/compare.hpp"
#include "tests/error_of.hpp"

namespace vla {
namespace {

// Linear regression, and an op with two results.
struct Small {
  Var x, y, w, unnamed;
  Tape tape;
  Var loss;

  Small() : x(Tensor::zeros({4, 3}, DType::float32)), y(Tensor::zeros({4, 1}, DType::float64)) {
    x.set_name("x");
    w = Var::parameter(Tensor::zeros({3, 1}, DType::float32), "say \"w\"");
    unnamed = Var::parameter(Tensor::zeros({}, DType::float64));
    const Var h = matmul(x, w, {}, {"/some/folder/program.cpp", 5});
    const std::vector<Var> parts =
        record("split", std::vector<Tensor>{h.value().to(DType::float64), unnamed.value()},
               {h, y, Var(), unnamed, w}, {h.value(), h.value()},
               [](const BackwardContext&) { return std::vector<Tensor>(5); }, {"program.cpp", 6});
    loss = mul(square(parts[0], {"program.cpp", 7}), parts[1], {"program.cpp", 8});
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(tape_picture)

BOOST_AUTO_TEST_CASE(the_graph_is_always_the_same) {
  const std::string expected = R"dot(digraph tape {
  node [shape=box, style="filled", fillcolor="#ffffff", fontname="sans-serif"];
  edge [fontname="sans-serif"];
  v7 [shape=ellipse, label="x\nfloat32(4, 3)", style="filled,dashed", fillcolor="#f2f2f2"];
  v0 [shape=ellipse, label="say \"w\"\nfloat32(3, 1)", fillcolor="#ffe0a3"];
  n0 [label="matmul\nfloat32(4, 1)", tooltip="program.cpp:5, saved 60 B"];
  v7 -> n0;
  v0 -> n0;
  v8 [shape=ellipse, label="constant\nfloat64(4, 1)", style="filled,dashed", fillcolor="#f2f2f2"];
  v2 [shape=ellipse, label="leaf\nfloat64()", fillcolor="#ffe0a3"];
  n1 [label="split\nfloat64(4, 1)\nfloat64()", tooltip="program.cpp:6, saved 32 B"];
  n0 -> n1;
  v8 -> n1;
  v2 -> n1;
  v0 -> n1;
  n2 [label="square\nfloat64(4, 1)", tooltip="program.cpp:7, saved 64 B"];
  n1 -> n2 [label="result 0"];
  n3 [label="mul\nfloat64(4, 1)", tooltip="program.cpp:8, saved 40 B"];
  n2 -> n3;
  n1 -> n3 [label="result 1"];
}
)dot";
  const std::string dot = to_dot(Small().tape.view());
  BOOST_TEST(dot == expected);
  BOOST_TEST(dot == to_dot(Small().tape.view()));
}

BOOST_AUTO_TEST_CASE(the_text_has_a_line_an_op) {
  const std::string expected =
      R"(value    made by                                         type                      saved  called at
say "w"  parameter                                       float32(3, 1)
leaf0    parameter                                       float64()
%0       matmul(x, say "w")                              float32(4, 1)              60 B  program.cpp:5
%1, %2   split(%0, float64(4, 1), none, leaf0, say "w")  float64(4, 1), float64()   32 B  program.cpp:6
%3       square(%1)                                      float64(4, 1)              64 B  program.cpp:7
%4       mul(%3, %2)                                     float64(4, 1)              40 B  program.cpp:8
)";
  BOOST_TEST(to_text(Small().tape.view()) == expected);
}

BOOST_AUTO_TEST_CASE(memory_is_added_up_by_op) {
  const Small small;
  std::size_t bytes = 0;
  for (const NodeView& node : small.tape.view().nodes) bytes += node.saved_bytes;
  BOOST_TEST(bytes == small.tape.saved_bytes());
  BOOST_TEST(memory_table(small.tape.view()) ==
             "op        nodes  saved   share\n"
             "square        1   64 B  32.7 %\n"
             "matmul        1   60 B  30.6 %\n"
             "mul           1   40 B  20.4 %\n"
             "split         1   32 B  16.3 %\n"
             "together      4  196 B\n");
}

BOOST_AUTO_TEST_CASE(a_watched_result_has_its_name_and_an_empty_tape_a_picture) {
  const Var w = Var::parameter(Tensor::zeros({2}, DType::float32), "w");
  Tape tape;
  BOOST_TEST(to_text(tape.view()) == "value  made by  type  saved  called at\n");
  BOOST_TEST(to_dot(tape.view()).ends_with("];\n}\n"));
  BOOST_TEST(memory_table(tape.view()) ==
             "op        nodes  saved  share\ntogether      0    0 B\n");
  Var h = square(w);
  h.set_name("hidden");
  BOOST_TEST(tape.view().values.back().name == "");
  tape.watch(h);
  BOOST_TEST(tape.view().values.back().name == "hidden");
  BOOST_TEST((tape.view().values.back().kind == ValueView::Kind::result));
  tape.backward(sum(h));
  BOOST_TEST(error_of([&] { tape.view(); }) ==
             "view: this tape was walked; look at it before backward");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
