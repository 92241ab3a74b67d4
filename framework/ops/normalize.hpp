// Normalisations along the last axis.
#pragma once

#include "framework/tape.hpp"

namespace vla {

/// (x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis, with the biased
/// variance. x (..., D), weight (D), bias (D). Source: Ba, Kiros, Hinton, "Layer normalization",
/// 2016. Throws Error for a negative epsilon.
Var layer_norm(const Var& x, const Var& weight, const Var& bias, double epsilon = 1e-5,
               CallSite site = CallSite::here());
/// x / sqrt(mean(x^2) + epsilon) * weight. x (..., D), weight (D). Source: Zhang, Sennrich, "Root
/// mean square layer normalization", 2019. Throws Error for a negative epsilon.
Var rms_norm(const Var& x, const Var& weight, double epsilon = 1e-5,
             CallSite site = CallSite::here());
/// x / max(|x|, floor), |x| the Euclidean norm over the last axis. A vector shorter than `floor`
/// is divided by the floor, a constant: the gradient at a zero vector is upstream / floor.
/// Throws Error unless the floor is above 0.
Var unit(const Var& x, double floor = 1e-6, CallSite site = CallSite::here());

}  // namespace vla
