// What the report says of gradients, and that it says what they are.

#include "framework/gradient_report.hpp"

#include <cmath>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/optim/optimizer.hpp"
#include "tests/compare.hpp"
#include "tests/error_of.hpp"

namespace vla {
namespace {

Tensor row(const std::vector<double>& values) {
  return Tensor::from({static_cast<Index>(values.size())}, values);
}

// Parameters in two layers and one by itself, whose gradients are what they are multiplied by.
struct Model {
  std::vector<Parameter> parameters;
  Gradients gradients;

  Model() {
    add("blocks.0.up.weight", {3, 4}, {0, 30});
    add("blocks.0.up.bias", {0}, {-40});
    add("blocks.1.norm.weight", {2, 2, 2}, {0, 1e-20, 0});
    add("scale", {10}, {std::nan("")});
    parameters.push_back({"unused", Var::parameter(row({6, 8}), "unused")});
  }
  void add(const std::string& name, const std::vector<double>& values,
           const std::vector<double>& gradient) {
    parameters.push_back({name, Var::parameter(row(values), name)});
    gradients.add(parameters.back().variable, row(gradient));
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(gradient_report)

BOOST_AUTO_TEST_CASE(each_parameter_has_its_numbers) {
  Model model;
  const GradientReport report(model.parameters, model.gradients);
  const GradientRow& up = report.parameters()[0];
  BOOST_TEST(report.parameters().size() == 5u);
  BOOST_TEST(up.name == "blocks.0.up.weight");
  BOOST_TEST(up.elements == 2);
  BOOST_TEST(up.has_gradient);
  BOOST_TEST(up.norm == 30);
  BOOST_TEST(up.mean == 15);
  BOOST_TEST(up.largest == 30);
  BOOST_TEST(up.zeros == 0.5);
  BOOST_TEST(up.weight_norm == 5);
  BOOST_TEST(std::isnan(up.update));
  BOOST_TEST(up.decades == (std::vector<Index>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}),
             boost::test_tools::per_element());
  BOOST_TEST(report.parameters()[1].largest == 40);
  BOOST_TEST(report.parameters()[2].decades[0] == 1);
  BOOST_TEST(report.parameters()[3].not_finite == 1);
  BOOST_TEST(report.parameters()[3].norm == 0);
  BOOST_TEST(!report.parameters()[4].has_gradient);
}

BOOST_AUTO_TEST_CASE(a_layer_is_what_begins_alike) {
  Model model;
  const auto names = [&](int depth) {
    const GradientReport report(model.parameters, model.gradients, {.depth = depth});
    std::string all;
    for (const GradientRow& layer : report.layers()) all += layer.name + " ";
    return all;
  };
  BOOST_TEST(names(1) == "blocks scale unused ");
  BOOST_TEST(names(2) == "blocks.0 blocks.1 scale unused ");
  BOOST_TEST(names(9) == "blocks.0.up blocks.1.norm scale unused ");
  BOOST_TEST(error_of([&] { names(0); }) == "gradient report: depth 0 is not allowed; 1 or more");
  const GradientReport report(model.parameters, model.gradients);
  const GradientRow& layer = report.layers()[0];
  BOOST_TEST(layer.elements == 3);
  BOOST_TEST(layer.norm == 50);
  BOOST_TEST(std::abs(layer.mean + 10.0 / 3) < 1e-12);
  BOOST_TEST(layer.largest == 40);
  BOOST_TEST(std::abs(layer.zeros - 1.0 / 3) < 1e-12);
  BOOST_TEST(layer.weight_norm == 5);
  BOOST_TEST(layer.decades.back() == 2);
}

BOOST_AUTO_TEST_CASE(the_update_is_what_the_step_has_changed) {
  Model model;
  Gradients gradients;
  for (const auto& [variable, gradient] : model.gradients)
    if (variable.name() != "scale") gradients.add(variable, gradient);
  GradientReport report(model.parameters, gradients);
  Sgd sgd(model.parameters, {.rate = 0.1});
  sgd.step(gradients);
  report.after_step();
  BOOST_TEST(std::abs(report.parameters()[0].update - 3.0 / 5) < 1e-12);
  BOOST_TEST(std::isnan(report.parameters()[1].update));  // it was 0
  BOOST_TEST(report.parameters()[3].update == 0);
  BOOST_TEST(report.parameters()[4].update == 0);
  BOOST_TEST(std::abs(report.layers()[0].update - 5.0 / 5) < 1e-12);  // hypot(3, 4) over 5
  BOOST_TEST(error_of([&] { report.after_step(); }) ==
             "gradient report: after_step was called before");
}

BOOST_AUTO_TEST_CASE(a_report_that_comes_after_the_step_knows_no_update) {
  Model model;
  Gradients gradients;
  gradients.add(model.parameters[0].variable, row({0, 30}));
  Sgd sgd(model.parameters, {.rate = 0.1});
  sgd.step(gradients);
  GradientReport late(model.parameters, gradients);
  late.after_step();
  BOOST_TEST(std::isnan(late.parameters()[0].update));
  BOOST_TEST(std::isnan(late.layers()[0].update));

  GradientReport report(model.parameters, gradients);
  sgd.step(gradients, {.rate_share = 0});  // moves nothing, and is known to
  report.after_step();
  BOOST_TEST(report.parameters()[0].update == 0);
  BOOST_TEST(report.layers()[0].update == 0);
}

BOOST_AUTO_TEST_CASE(a_parameter_of_another_shape_is_refused) {
  Model model;
  GradientReport report(model.parameters, model.gradients);
  model.parameters[0].variable.mutable_value() = row({1});
  BOOST_TEST(error_of([&] { report.after_step(); }) ==
             "gradient report: 'blocks.0.up.weight' was float64(2) before the step and is "
             "float64(1)");
}

BOOST_AUTO_TEST_CASE(the_table_and_the_csv) {
  Model model;
  GradientReport report(model.parameters, model.gradients);
  const std::string expected =
      R"(layer     elements   norm      mean  largest   zeros  not finite  weight norm  update/weight  |g| 1e-10 to 100
blocks.0         3     50     -3.33       40  33.3 %           0            5              -  ...........6
blocks.1         3  1e-20  3.33e-21    1e-20  66.7 %           0         3.46              -  3...........
scale            1      0         0        0     0 %           1           10              -  ............
unused           2   none                                                  10

parameter             elements   norm      mean  largest   zeros  not finite  weight norm  update/weight  |g| 1e-10 to 100
blocks.0.up.weight           2     30        15       30    50 %           0            5              -  ...........5
blocks.0.up.bias             1     40       -40       40     0 %           0            0              -  ...........9
blocks.1.norm.weight         3  1e-20  3.33e-21    1e-20  66.7 %           0         3.46              -  3...........
scale                        1      0         0        0     0 %           1           10              -  ............
unused                       2   none                                                  10
)";
  BOOST_TEST(report.table() == expected);
  const std::string csv = report.csv();
  check_contains(csv,
                 "kind,name,elements,norm,mean,largest,zeros,not_finite,weight_norm,update,"
                 "from_1e-10,");
  check_contains(csv, ",from_1e0,from_1e1\n");
  check_contains(csv,
                 "\nparameter,blocks.0.up.weight,2,30,15,30,0.5,0,5,,0,0,0,0,0,0,0,0,0,0,0,1\n");
  check_contains(csv, "\nparameter,unused,2,,,,,0,10,,0,0,0,0,0,0,0,0,0,0,0,0\n");
  check_contains(csv, "\nlayer,blocks.0,3,50,");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
