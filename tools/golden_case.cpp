#include "tools/golden_case.hpp"

#include <nlohmann/json.hpp>
#include <ostream>

#include "framework/ops/shaping.hpp"
#include "framework/safetensors_header.hpp"
#include "tools/reference_names.hpp"

namespace vla {
namespace {

Var& find(ParameterMap& parameters, const std::string& name, const std::string& reference) {
  auto found = parameters.find(name);
  check(found != parameters.end(), "no parameter ", quote_name(name), " for the case's ",
        quote_name(reference));
  return found->second;
}

}  // namespace

GoldenCase::GoldenCase(const std::string& path, DType dtype, Device device, double tolerance,
                       std::ostream& out)
    : file_(read_safetensors(path)),
      name_(file_.text("case")),
      dtype_(dtype),
      device_(device),
      tolerance_(tolerance),
      out_(out) {}

Tensor GoldenCase::array(const std::string& name) const {
  const Tensor& tensor = file_.at(name);
  return (is_floating(tensor.dtype()) ? tensor.to(dtype_) : tensor).to(device_);
}

double GoldenCase::number(const std::string& key) const {
  const std::string& text = file_.text(key);
  std::size_t end = 0;
  double value = 0;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  check(end > 0 && end == text.size(), file_.source, ": metadata ", quote_name(key), " is ",
        quote_name(text), "; a number is needed");
  return value;
}

double GoldenCase::number_or(const std::string& key, double otherwise) const {
  return file_.metadata.contains(key) ? number(key) : otherwise;
}

Index GoldenCase::integer(const std::string& key) const {
  const double value = number(key);
  check(value == std::floor(value) && std::abs(value) < 1e9, file_.source, ": metadata ",
        quote_name(key), " is ", value, "; an integer is needed");
  return static_cast<Index>(value);
}

Index GoldenCase::integer_or(const std::string& key, Index otherwise) const {
  return file_.metadata.contains(key) ? integer(key) : otherwise;
}

std::vector<double> GoldenCase::numbers(const std::string& key) const {
  try {
    return nlohmann::json::parse(file_.text(key)).get<std::vector<double>>();
  } catch (const nlohmann::json::exception&) {
    fail(file_.source, ": metadata ", quote_name(key), " is not a list of numbers");
  }
}

void GoldenCase::compare(const std::string& array, const Tensor& actual) {
  report(array, relative_error(actual, file_.at(array)));
}

void GoldenCase::report(const std::string& array, double error) {
  const bool within = error <= tolerance_;  // not so for NaN
  out_ << name_;
  if (form_ != OperatorForm::automatic) out_ << '/' << form_name(form_);
  out_ << ' ' << array << ' ' << error << (within ? "" : "  FAILED") << '\n';
  passed_ = passed_ && within;
}

void GoldenCase::fail_as_unknown() {
  out_ << name_ << " unknown kind of case\n";
  passed_ = false;
}

void load(const GoldenCase& c, const std::string& prefix, ParameterMap& parameters) {
  std::size_t loaded = 0;
  for (const auto& [array, tensor] : c.file().tensors) {
    if (!array.starts_with(prefix)) continue;
    const std::string reference = array.substr(prefix.size());
    const std::vector<std::string> names = our_names(reference);
    Index row = 0;
    for (const std::string& name : names) {
      Tensor& target = find(parameters, name, reference).mutable_value();
      const Index rows = target.size(0);
      target = target.to(c.device());
      target.copy_from(slice(Var(c.array(array)), 0, row, row + rows).value());
      row += rows;
      ++loaded;
    }
    check(row == tensor.size(0), "array ", quote_name(array), " has ", tensor.size(0),
          " rows, not ", row);
  }
  check(loaded == parameters.size(), quote_name(c.name()), ": the case has ", loaded,
        " of the model's parameters; it has ", parameters.size());
}

void compare_all(GoldenCase& c, const std::string& prefix, ParameterMap& parameters,
                 const std::function<Tensor(const Var&)>& value) {
  bool found = false;
  for (const auto& [array, tensor] : c.file().tensors) {
    if (!array.starts_with(prefix)) continue;
    found = true;
    const std::string reference = array.substr(prefix.size());
    std::vector<Var> parts;
    for (const std::string& name : our_names(reference))
      parts.emplace_back(value(find(parameters, name, reference)));
    c.compare(array, concat(parts, 0).value());
  }
  check(found, c.file().source, ": there is no array '", prefix, "...' to compare with");
}

}  // namespace vla
