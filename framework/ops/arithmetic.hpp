// Arithmetic of two tensors with broadcasting: shapes are aligned at the last axis, and an axis of
// size 1 (or a missing one) repeats. Throws Error for shapes that do not fit.
#pragma once

#include "framework/tape.hpp"

namespace vla {

/// The shape that `a` and `b` broadcast to; Error naming `op` if they do not fit.
Shape broadcast_shape(const char* op, const Shape& a, const Shape& b);

/// The elements of x, of any type, repeated to `shape`; x itself under that shape if nothing
/// repeats. A tensor, for backward rules; see also sum_to_shape.
Tensor broadcast_to(const Tensor& x, const Shape& shape);

/// a + b, a - b, a b and a / b, element by element; the shapes are broadcast. Throws Error if they
/// do not fit, and for element types or devices that differ.
///@{
Var add(const Var& a, const Var& b, CallSite site = CallSite::here());
Var sub(const Var& a, const Var& b, CallSite site = CallSite::here());
Var mul(const Var& a, const Var& b, CallSite site = CallSite::here());
Var div(const Var& a, const Var& b, CallSite site = CallSite::here());
///@}

/// factor * x and x + offset with constants.
///@{
Var scale(const Var& x, double factor, CallSite site = CallSite::here());
Var shift(const Var& x, double offset, CallSite site = CallSite::here());
///@}

/// a where `condition` (uint8) is not zero, b elsewhere; all three broadcast.
Var where(const Tensor& condition, const Var& a, const Var& b, CallSite site = CallSite::here());

/// The left operand of an operator: built from a Var implicitly, it notes the call site, which an
/// operator cannot take as an argument.
struct Operand {
  /// Of the line where it is written.
  Operand(const Var& variable, CallSite site = CallSite::here()) : variable(variable), site(site) {}
  const Var& variable;
  CallSite site;
};

/// add, sub, mul, div; with a number shift and scale.
///@{
inline Var operator+(Operand a, const Var& b) { return add(a.variable, b, a.site); }
inline Var operator-(Operand a, const Var& b) { return sub(a.variable, b, a.site); }
inline Var operator*(Operand a, const Var& b) { return mul(a.variable, b, a.site); }
inline Var operator/(Operand a, const Var& b) { return div(a.variable, b, a.site); }
inline Var operator+(Operand a, double b) { return shift(a.variable, b, a.site); }
inline Var operator-(Operand a, double b) { return shift(a.variable, -b, a.site); }
inline Var operator*(Operand a, double b) { return scale(a.variable, b, a.site); }
inline Var operator/(Operand a, double b) { return scale(a.variable, 1 / b, a.site); }
inline Var operator+(double a, Operand b) { return shift(b.variable, a, b.site); }
inline Var operator*(double a, Operand b) { return scale(b.variable, a, b.site); }
inline Var operator-(double a, Operand b) {
  return shift(scale(b.variable, -1, b.site), a, b.site);
}
inline Var operator-(Operand a) { return scale(a.variable, -1, a.site); }
///@}

}  // namespace vla
