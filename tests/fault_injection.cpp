#include "tests/fault_injection.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace vla {
namespace {

// Plain numbers, so that a thread has them before its first allocation.
thread_local Fault armed_fault{};
thread_local int calls_left = 0;  // 0: none is to fail
thread_local int error_number = 0;
thread_local bool no_links = false;

// Whether this call of that kind is the one to fail.
bool fails(Fault fault) { return calls_left > 0 && armed_fault == fault && --calls_left == 0; }

void* allocate(std::size_t bytes) {
  void* block = fails(Fault::allocation) ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

}  // namespace

FaultAt::FaultAt(Fault fault, int call, int error) {
  armed_fault = fault;
  error_number = error;
  calls_left = call;
}
FaultAt::~FaultAt() { calls_left = 0; }
bool FaultAt::happened() const { return calls_left == 0; }

NoLinks::NoLinks() { no_links = true; }
NoLinks::~NoLinks() { no_links = false; }

}  // namespace vla

extern "C" {

ssize_t write(int descriptor, const void* bytes, size_t count) {
  using vla::Fault;
  if (vla::fails(Fault::short_write)) count = count > 0 ? 1 : 0;
  if (vla::fails(Fault::interrupted_write)) {
    errno = EINTR;
    return -1;
  }
  if (vla::fails(Fault::write)) {
    errno = vla::error_number;
    return -1;
  }
  return ::syscall(SYS_write, descriptor, bytes, count);
}

int fsync(int descriptor) {
  if (vla::fails(vla::Fault::sync)) {
    errno = vla::error_number;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fsync, descriptor));
}

int rename(const char* from, const char* to) noexcept {
  if (vla::fails(vla::Fault::rename)) {
    errno = vla::error_number;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int link(const char* from, const char* to) noexcept {
  if (vla::no_links) {
    errno = EPERM;
    return -1;
  }
  if (vla::fails(vla::Fault::link)) {
    errno = vla::error_number;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0));
}

}  // extern "C"

void* operator new(std::size_t bytes) { return vla::allocate(bytes); }
void* operator new[](std::size_t bytes) { return vla::allocate(bytes); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return vla::allocate(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* block) noexcept { std::free(block); }
void operator delete[](void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }
void operator delete[](void* block, std::size_t) noexcept { std::free(block); }
