// The only file that sees MPI.
#include <mpi.h>

#include <algorithm>
#include <limits>

#include "framework/distributed/ranks.hpp"

namespace vla {
namespace {

// Every call goes through here, since our communicators return errors.
void check_mpi(const char* what, int result) {
  if (result == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(result, text, &length);
  std::string reason(text, static_cast<std::size_t>(length));
  std::ranges::replace(reason, '\n', ' ');
  fail(what, ": MPI reports: ", reason);
}

// MPI counts in int.
constexpr Index kMost = std::numeric_limits<int>::max();

MPI_Datatype type_of(DType dtype) { return dtype == DType::float32 ? MPI_FLOAT : MPI_DOUBLE; }

// Calls work(offset, count) for pieces that MPI can count.
template <class Work>
void by_pieces(Index count, Work work) {
  for (Index begin = 0; begin < count; begin += kMost)
    work(begin, static_cast<int>(std::min(kMost, count - begin)));
}

// The place among the processes that can share memory, which are those of one machine. (A container
// counts as a machine of its own.)
int find_local_rank(MPI_Comm all) {
  MPI_Comm machine = MPI_COMM_NULL;
  int rank = 0;
  check_mpi("MPI_Comm_split_type",
            MPI_Comm_split_type(all, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine));
  check_mpi("MPI_Comm_rank", MPI_Comm_rank(machine, &rank));
  check_mpi("MPI_Comm_free", MPI_Comm_free(&machine));
  return rank;
}

class MpiPending : public PendingMessage {
 public:
  explicit MpiPending(MPI_Request request) : request_(request) {}
  void progress() override {
    int done = 0;
    check_mpi("sum over ranks", MPI_Test(&request_, &done, MPI_STATUS_IGNORE));
  }
  void finish() override { check_mpi("sum over ranks", MPI_Wait(&request_, MPI_STATUS_IGNORE)); }

 private:
  MPI_Request request_;
};

class MpiRanks : public Ranks {
 public:
  explicit MpiRanks(MPI_Comm world) : MpiRanks(world, 0) { local_rank_ = find_local_rank(world); }
  MpiRanks(MPI_Comm communicator, int local_rank)
      : communicator_(communicator), local_rank_(local_rank) {
    check_mpi("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN));
    check_mpi("MPI_Comm_rank", MPI_Comm_rank(communicator_, &rank_));
    check_mpi("MPI_Comm_size", MPI_Comm_size(communicator_, &size_));
  }
  // Freeing a communicator is collective, and they are few: MPI_Finalize has them all.
  ~MpiRanks() override = default;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_rank() const override { return local_rank_; }

  std::shared_ptr<Ranks> reversed() override {
    if (!reversed_) {
      MPI_Comm made = MPI_COMM_NULL;
      check_mpi("MPI_Comm_split", MPI_Comm_split(communicator_, 0, size_ - 1 - rank_, &made));
      reversed_ = std::make_shared<MpiRanks>(made, local_rank_);
    }
    return reversed_;
  }
  std::shared_ptr<Ranks> separate() override {
    MPI_Comm made = MPI_COMM_NULL;
    check_mpi("MPI_Comm_dup", MPI_Comm_dup(communicator_, &made));
    return std::make_shared<MpiRanks>(made, local_rank_);
  }

  void sum(void* numbers, Index count, DType dtype) override {
    by_pieces(count, [&](Index begin, int part) {
      check_mpi("sum over ranks", MPI_Allreduce(MPI_IN_PLACE, at(numbers, begin, dtype), part,
                                                type_of(dtype), MPI_SUM, communicator_));
    });
  }
  double largest(double number) override {
    check_mpi("largest of ranks",
              MPI_Allreduce(MPI_IN_PLACE, &number, 1, MPI_DOUBLE, MPI_MAX, communicator_));
    return number;
  }
  std::unique_ptr<PendingMessage> begin_sum(void* numbers, Index count, DType dtype) override {
    check(count <= kMost, "sum over ranks: ", count, " numbers at once; at most ", kMost);
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi("sum over ranks", MPI_Iallreduce(MPI_IN_PLACE, numbers, static_cast<int>(count),
                                               type_of(dtype), MPI_SUM, communicator_, &request));
    return std::make_unique<MpiPending>(request);
  }
  void exclusive_sum(void* numbers, Index count, DType dtype) override {
    by_pieces(count, [&](Index begin, int part) {
      check_mpi("exclusive sum over ranks",
                MPI_Exscan(MPI_IN_PLACE, at(numbers, begin, dtype), part, type_of(dtype), MPI_SUM,
                           communicator_));
    });
  }
  void broadcast(std::byte* bytes, std::size_t count, int from) override {
    by_pieces(static_cast<Index>(count), [&](Index begin, int part) {
      check_mpi("broadcast", MPI_Bcast(bytes + begin, part, MPI_BYTE, from, communicator_));
    });
  }
  void send(const std::byte* bytes, std::size_t count, int to) override {
    by_pieces(static_cast<Index>(count), [&](Index begin, int part) {
      check_mpi("send", MPI_Send(bytes + begin, part, MPI_BYTE, to, kTag, communicator_));
    });
  }
  void receive(std::byte* bytes, std::size_t count, int from) override {
    by_pieces(static_cast<Index>(count), [&](Index begin, int part) {
      MPI_Status status;
      check_mpi("receive",
                MPI_Recv(bytes + begin, part, MPI_BYTE, from, kTag, communicator_, &status));
      int received = 0;
      check_mpi("receive", MPI_Get_count(&status, MPI_BYTE, &received));
      check(received == part, "receive: rank ", from, " sent ", received, " bytes, ", part,
            " are needed");
    });
  }

 private:
  static constexpr int kTag = 0;
  static void* at(void* numbers, Index place, DType dtype) {
    return static_cast<std::byte*>(numbers) + place * static_cast<Index>(element_bytes(dtype));
  }

  MPI_Comm communicator_;
  int rank_ = 0, size_ = 1, local_rank_ = 0;
  std::shared_ptr<Ranks> reversed_;
};

// MPI from here to the program's end, unless the program has begun it by itself.
class Job {
 public:
  Job() {
    if (mpi_has_begun()) return;
    int provided = 0;
    check_mpi("MPI_Init_thread", MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided));
    ours_ = true;
  }
  ~Job() {
    if (ours_ && mpi_has_begun()) MPI_Finalize();
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

 private:
  bool ours_ = false;
};

}  // namespace

std::shared_ptr<Ranks> mpi_world() {
  static const Job job;
  return MpiRanks(MPI_COMM_WORLD).separate();
}

bool mpi_has_begun() {
  int begun = 0, ended = 0;
  MPI_Initialized(&begun);
  MPI_Finalized(&ended);
  return begun && !ended;
}

void mpi_abort(int code) { MPI_Abort(MPI_COMM_WORLD, code); }

}  // namespace vla
