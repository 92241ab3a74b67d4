// Faults of the system, on request. This program's own write, fsync, rename, link and operator new
// stand before the system's (fault_injection.cpp).
#pragma once

namespace vla {

/// What can be made to fail. A short write writes one byte and says so; a write may also be
/// interrupted by a signal before it writes anything.
enum class Fault { write, short_write, interrupted_write, sync, rename, link, allocation };

/// While it lives, call number `call` (from 1) of that kind by this thread fails once. `error` is
/// what the system says, as EIO; an allocation throws std::bad_alloc.
class FaultAt {
 public:
  FaultAt(Fault fault, int call, int error = 0);
  ~FaultAt();
  FaultAt(const FaultAt&) = delete;
  FaultAt& operator=(const FaultAt&) = delete;
  /// Whether there were so many calls.
  bool happened() const;
};

/// While it lives, every link by this thread fails, as on a file system that has none.
class NoLinks {
 public:
  NoLinks();
  ~NoLinks();
  NoLinks(const NoLinks&) = delete;
  NoLinks& operator=(const NoLinks&) = delete;
};

}  // namespace vla
