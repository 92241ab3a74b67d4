#include "framework/op_observer.hpp"

#include <utility>

namespace vla {
namespace {

thread_local OpObserver* innermost_observer = nullptr;

}  // namespace

OpObserver::OpObserver() : outer_(std::exchange(innermost_observer, this)) {}
OpObserver::~OpObserver() { innermost_observer = outer_; }

bool OpObserver::any() { return innermost_observer != nullptr; }

OpObserver::Unseen::Unseen() : innermost(std::exchange(innermost_observer, nullptr)) {}
OpObserver::Unseen::~Unseen() { innermost_observer = innermost; }

}  // namespace vla
