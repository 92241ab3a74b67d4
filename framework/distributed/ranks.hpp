// What a communicator of several processes is made of: messages of plain memory. Implemented by
// mpi.cpp, in builds with MPI.
#pragma once

#include <cstddef>
#include <memory>

#include "framework/tensor.hpp"

namespace vla {

/// A collective call under way.
class PendingMessage {
 public:
  virtual ~PendingMessage() = default;
  virtual void progress() = 0;
  virtual void finish() = 0;
};

/// Numbers are float32 or float64, in place; the rest is bytes. Throws Error for what MPI reports.
class Ranks {
 public:
  virtual ~Ranks() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual int local_rank() const = 0;
  virtual std::shared_ptr<Ranks> reversed() = 0;
  virtual std::shared_ptr<Ranks> separate() = 0;
  virtual void sum(void* numbers, Index count, DType dtype) = 0;
  virtual double largest(double number) = 0;
  virtual std::unique_ptr<PendingMessage> begin_sum(void* numbers, Index count, DType dtype) = 0;
  virtual void exclusive_sum(void* numbers, Index count, DType dtype) = 0;
  virtual void broadcast(std::byte* bytes, std::size_t count, int from) = 0;
  virtual void send(const std::byte* bytes, std::size_t count, int to) = 0;
  virtual void receive(std::byte* bytes, std::size_t count, int from) = 0;
};

/// All processes of the job; MPI begins with the first call.
std::shared_ptr<Ranks> mpi_world();
/// Whether MPI has begun and not ended yet.
bool mpi_has_begun();
/// Ends every process of the job, once MPI has begun.
void mpi_abort(int code);

}  // namespace vla
