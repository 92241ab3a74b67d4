#include "models/operator_form.hpp"

#include "framework/check.hpp"

namespace vla {

std::string_view form_name(OperatorForm form) {
  switch (form) {
    case OperatorForm::step:
      return "step";
    case OperatorForm::chunk:
      return "chunk";
    case OperatorForm::automatic:
      break;
  }
  return "auto";
}

OperatorForm parse_form(std::string_view name) {
  for (OperatorForm form : {OperatorForm::automatic, OperatorForm::step, OperatorForm::chunk})
    if (name == form_name(form)) return form;
  fail("operator form '", name, "' is not allowed; auto, step or chunk");
}

}  // namespace vla
