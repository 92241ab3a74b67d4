#include "framework/distributed/communicator.hpp"

#include <chrono>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>
#include <thread>
#include <utility>

#include "framework/distributed/ranks.hpp"

namespace vla {
namespace {

#ifdef VLA_MPI_BUILD
constexpr bool kMpiBuild = true;
#else
constexpr bool kMpiBuild = false;
#endif

// A number that the launcher left in the environment, or -1.
int from_environment(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const char* text = std::getenv(name)) return std::atoi(text);
  return -1;
}

int launched_rank() { return from_environment({"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"}); }
// PMIx tells no size: whether there are others is then for MPI to say.
bool launched_alone() {
  const int size = from_environment({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"});
  return size == 1 || (size < 0 && launched_rank() < 0);
}

void check_numbers(const char* what, const Tensor& x) {
  check(x.defined(), what, ": the tensor is not defined");
  check(x.dtype() == DType::float32 || x.dtype() == DType::float64, what, ": element type ",
        x.dtype(), " is not allowed; float32 or float64");
}

std::byte* bytes_of(Tensor& x) {
  return dispatch_any(x.dtype(), [&](auto zero) {
    return reinterpret_cast<std::byte*>(x.mutable_data<decltype(zero)>());
  });
}

// Calls work with x, or with a copy of it on the host that is then copied back.
template <class Work>
void on_host(Tensor& x, Work work) {
  Tensor host = x.to(Device{});
  work(bytes_of(host));
  if (!x.device().is_cpu()) x.copy_from(host);
}

}  // namespace

bool has_mpi() { return kMpiBuild; }

Communicator Communicator::world() {
  if constexpr (kMpiBuild) {
    if (launched_alone()) return {};
    static const std::shared_ptr<Ranks> world = mpi_world();
    return world->size() == 1 ? Communicator() : Communicator(world);
  } else {
    check(launched_alone(),
          "several processes were started together, and this build is without MPI; build with "
          "-DVLA_MPI=ON");
    return {};
  }
}

int Communicator::rank() const { return ranks_ ? ranks_->rank() : 0; }
int Communicator::size() const { return ranks_ ? ranks_->size() : 1; }
int Communicator::local_rank() const { return ranks_ ? ranks_->local_rank() : 0; }

Communicator Communicator::reversed() const {
  return ranks_ ? Communicator(ranks_->reversed()) : *this;
}
Communicator Communicator::separate() const {
  return ranks_ ? Communicator(ranks_->separate()) : *this;
}

void Communicator::check_rank(const char* what, int rank) const {
  check(rank >= 0 && rank < size(), what, ": rank ", rank, " does not exist; 0 to ", size() - 1);
}

void Communicator::sum(Tensor& x) const {
  check_numbers("sum over ranks", x);
  if (ranks_) on_host(x, [&](void* data) { ranks_->sum(data, x.elements(), x.dtype()); });
}

double Communicator::sum(double x) const {
  if (ranks_) ranks_->sum(&x, 1, DType::float64);
  return x;
}

double Communicator::largest(double x) const { return ranks_ ? ranks_->largest(x) : x; }

PendingSum Communicator::begin_sum(Tensor& x) const {
  check_numbers("sum over ranks", x);
  PendingSum pending;
  if (!ranks_) return pending;
  pending.target_ = x;
  pending.host_ = x.to(Device{});
  pending.message_ = ranks_->begin_sum(bytes_of(pending.host_), x.elements(), x.dtype());
  return pending;
}

void Communicator::exclusive_sum(Tensor& x) const {
  check_numbers("exclusive sum over ranks", x);
  if (ranks_) on_host(x, [&](void* data) { ranks_->exclusive_sum(data, x.elements(), x.dtype()); });
  if (rank() == 0) x.fill(0);  // MPI leaves it as it was
}

void Communicator::broadcast(Tensor& x, int from) const {
  check(x.defined(), "broadcast: the tensor is not defined");
  check_rank("broadcast", from);
  if (ranks_) on_host(x, [&](std::byte* data) { ranks_->broadcast(data, x.bytes(), from); });
}

double Communicator::broadcast(double x, int from) const {
  check_rank("broadcast", from);
  if (ranks_) ranks_->broadcast(reinterpret_cast<std::byte*>(&x), sizeof x, from);
  return x;
}

void Communicator::send(const Tensor& x, int to) const {
  check(x.defined(), "send: the tensor is not defined");
  check_rank("send", to);
  check(to != rank(), "send: rank ", to, " is this process");
  const Tensor host = x.to(Device{});
  dispatch_any(host.dtype(), [&](auto zero) {
    ranks_->send(reinterpret_cast<const std::byte*>(host.data<decltype(zero)>()), host.bytes(), to);
  });
}

void Communicator::receive(Tensor& x, int from) const {
  check(x.defined(), "receive: the tensor is not defined");
  check_rank("receive", from);
  check(from != rank(), "receive: rank ", from, " is this process");
  on_host(x, [&](std::byte* data) { ranks_->receive(data, x.bytes(), from); });
}

Device parse_device(std::string_view text, const Communicator& ranks) {
  Device device = parse_device(text);
  if (text == "cuda" || (text == "auto" && !device.is_cpu()))
    device.index = ranks.local_rank() % cuda_device_count();
  return device;
}

// --- A sum under way ----------------------------------------------------------------------------

PendingSum::PendingSum() = default;
PendingSum::PendingSum(PendingSum&&) noexcept = default;
PendingSum& PendingSum::operator=(PendingSum&&) noexcept = default;

PendingSum::~PendingSum() {
  if (!message_) return;
  if (std::uncaught_exceptions() == 0) {
    try {
      finish();
      return;
    } catch (const Error&) {
    }
  }
  abandon();
}

void PendingSum::abandon() {
  if (!message_) return;
  // MPI may still write there: the memory is left to it.
  new Tensor(std::move(host_));
  message_.release();
  target_ = {};
}

void PendingSum::progress() {
  if (message_) message_->progress();
}

void PendingSum::finish() {
  if (!message_) return;
  message_->finish();
  message_ = nullptr;
  if (!target_.device().is_cpu()) target_.copy_from(host_);
  target_ = host_ = {};
}

// --- The end of a job ---------------------------------------------------------------------------

int end_job(const std::string& program, const std::string& message, int code) {
  const int rank = launched_rank();
  const bool several = rank >= 0 && !launched_alone();
  bool begun = false;
  if constexpr (kMpiBuild) begun = mpi_has_begun();
  // Where all fail alike, rank 0 ends the others while they wait; before MPI has begun that is left
  // to the launcher, which takes its time.
  if (several && rank > 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(begun ? 1000 : 3000));
  std::cerr << concatenate(program, ": ", several ? concatenate("rank ", rank, ": ") : "", message,
                           "\n")
            << std::flush;
  if constexpr (kMpiBuild)
    if (several && begun) mpi_abort(code);
  return code;
}

}  // namespace vla
