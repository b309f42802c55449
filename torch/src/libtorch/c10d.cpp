// C functions for c10d, the part of libtorch that connects processes: TCPStore, through which they find
// each other, Gloo for tensors on the CPU, and NCCL for tensors on CUDA devices.
//
// Functions that can fail return null on success, otherwise a message that the caller frees with
// lstmtext_free. Tensors are passed as the handles of tch, pointers to at::Tensor.

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

// The names of Gloo that c10d's headers need, as declared in Gloo. c10d only passes pointers to these
// types around; build.rs creates empty files in place of Gloo's headers.
namespace gloo {

class Context {
public:
  void setTimeout(std::chrono::milliseconds timeout);
};

namespace transport {

class Device;

class UnboundBuffer {
public:
  virtual ~UnboundBuffer() = 0;
};

} // namespace transport

namespace rendezvous {

class Store {
public:
  virtual ~Store();
  virtual void set(const std::string &key, const std::vector<char> &value) = 0;
  virtual std::vector<char> get(const std::string &key) = 0;
  virtual void wait(const std::vector<std::string> &keys) = 0;
  virtual void wait(const std::vector<std::string> &keys,
                    const std::chrono::milliseconds &timeout) = 0;
};

} // namespace rendezvous
} // namespace gloo

#define USE_C10D_GLOO

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

// If libtorch were built with other declarations of Gloo than those above, the objects that this file
// allocates would not fit. In libtorch 2.11.0 they have this size.
static_assert(sizeof(c10d::ProcessGroupGloo) == 488, "c10d.cpp is for libtorch 2.11.0");

using std::chrono::milliseconds;
using Gloo = c10d::ProcessGroupGloo;
using StorePtr = c10::intrusive_ptr<c10d::Store>;
using BackendPtr = c10::intrusive_ptr<c10d::Backend>;
using OptionsPtr = c10::intrusive_ptr<c10d::Backend::Options>;

struct LstmtextStore {
  StorePtr store;
};

struct LstmtextGroup {
  StorePtr store;
  int rank;
  int size;
  milliseconds timeout;
  BackendPtr gloo;
  // Null before lstmtext_group_connect_cuda.
  BackendPtr nccl;
};

namespace {

template <typename Function> char *guarded(Function function) {
  try {
    function();
    return nullptr;
  } catch (const c10::Error &error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception &error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("unknown exception");
  }
}

// c10d logs every attempt to connect with a stack trace. Its exceptions have the same messages.
void silence_log() {
  c10::initLogging();
  if (!std::getenv("TORCH_CPP_LOG_LEVEL")) FLAGS_caffe2_log_level = c10::GLOG_FATAL;
}

at::Tensor tensor_of(const void *values, std::size_t count, at::ScalarType type) {
  // c10d does not write to its inputs.
  return at::from_blob(const_cast<void *>(values), {static_cast<std::int64_t>(count)}, type);
}

void all_reduce(c10d::Backend &backend, const at::Tensor &tensor) {
  std::vector<at::Tensor> tensors{tensor};
  backend.allreduce(tensors)->wait();
}

// A part of a buffer, for one process or from one.
struct Part {
  std::uint8_t *bytes;
  std::size_t count;
};

// Sends a part to every other process and receives one from each; parts without bytes are left out. All
// receptions begin before the first part is sent. Gloo's own all-to-all begins with sending, so that a
// process that comes late sends its data before it tells the others that it is ready for theirs, and the
// two directions of a connection take turns.
void exchange(LstmtextGroup &group, const std::vector<Part> &sent,
              const std::vector<Part> &received, int tag) {
  std::vector<c10::intrusive_ptr<c10d::Work>> works;
  std::vector<std::vector<at::Tensor>> tensors;
  tensors.reserve(2 * group.size);
  auto tensor = [&](const Part &part) -> std::vector<at::Tensor> & {
    tensors.push_back({tensor_of(part.bytes, part.count, at::kByte)});
    return tensors.back();
  };
  for (int step = 1; step < group.size; ++step) {
    const int from = (group.rank + group.size - step) % group.size;
    if (received[from].count) works.push_back(group.gloo->recv(tensor(received[from]), from, tag));
  }
  for (int step = 1; step < group.size; ++step) {
    const int to = (group.rank + step) % group.size;
    if (sent[to].count) works.push_back(group.gloo->send(tensor(sent[to]), to, tag));
  }
  for (auto &work : works) work->wait();
}

template <typename Function> Function *cuda_function(const char *name) {
  void *symbol = dlsym(RTLD_DEFAULT, name);
  if (!symbol) throw std::runtime_error("libtorch_cuda.so is not loaded, or was built without NCCL");
  return reinterpret_cast<Function *>(symbol);
}

struct Deallocate {
  void operator()(void *memory) const { ::operator delete(memory); }
};

// Creates a ProcessGroupNCCL. This program is not linked with libtorch_cuda, which only some machines
// have, and the header of ProcessGroupNCCL includes those of CUDA and NCCL. Therefore the constructors
// are found by their mangled names. They take the address of the object first, and arguments of class
// type by address (Itanium C++ ABI). In libtorch 2.11.0, the objects have 248 and 1112 bytes.
BackendPtr make_nccl(const LstmtextGroup &group) {
  constexpr std::size_t kCapacity = 16384;
  auto *construct_options =
      cuda_function<void(void *, bool)>("_ZN4c10d16ProcessGroupNCCL7OptionsC1Eb");
  auto *construct_group = cuda_function<void(void *, StorePtr *, int, int, OptionsPtr *)>(
      "_ZN4c10d16ProcessGroupNCCLC1EN3c1013intrusive_ptrINS_5StoreENS1_6detail34intrusive_target_"
      "default_null_typeIS3_EEEEiiNS2_INS0_7OptionsENS5_IS8_EEEE");
  auto allocate = [] { return std::unique_ptr<void, Deallocate>(::operator new(kCapacity)); };

  auto memory = allocate();
  construct_options(memory.get(), /*is_high_priority_stream=*/false);
  auto options =
      OptionsPtr::unsafe_steal_from_new(static_cast<c10d::Backend::Options *>(memory.release()));
  options->timeout = group.timeout;

  StorePtr store = c10::make_intrusive<c10d::PrefixStore>("nccl", group.store);
  memory = allocate();
  construct_group(memory.get(), &store, group.rank, group.size, &options);
  return BackendPtr::unsafe_steal_from_new(static_cast<c10d::Backend *>(memory.release()));
}

} // namespace

extern "C" {

// Connects to the store at an address; the process that serves the store has it. Keys are private to the
// processes with the same prefix.
char *lstmtext_store_connect(const char *host, std::uint16_t port, bool serves, const char *prefix,
                             std::int64_t timeout, LstmtextStore **store) {
  return guarded([&] {
    silence_log();
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves;
    options.waitWorkers = false;
    // The store tries to connect by IPv6 for this time, then by IPv4 for as long again.
    options.timeout = milliseconds((timeout + 1) / 2);
    StorePtr tcp = c10::make_intrusive<c10d::TCPStore>(host, options);
    tcp->setTimeout(milliseconds(timeout));
    *store = new LstmtextStore{c10::make_intrusive<c10d::PrefixStore>(prefix, tcp)};
  });
}

char *lstmtext_store_set(LstmtextStore *store, const char *key, const char *value) {
  return guarded([&] { store->store->set(key, std::string(value)); });
}

// Waits until the key is set. The caller frees the value with lstmtext_free.
char *lstmtext_store_get(LstmtextStore *store, const char *key, std::int64_t timeout, char **value) {
  return guarded([&] {
    store->store->wait({key}, milliseconds(timeout));
    *value = strdup(store->store->get_to_str(key).c_str());
  });
}

void lstmtext_store_free(LstmtextStore *store) { delete store; }

// Connects to all other processes. `address` is that of this process, or null if Gloo chooses it.
char *lstmtext_group_connect(LstmtextStore *store, int rank, int size, const char *address,
                             std::int64_t timeout, LstmtextGroup **group) {
  return guarded([&] {
    const milliseconds limit(timeout);
    auto options = address ? Gloo::Options::create(limit) : Gloo::Options::create_default(limit);
    if (address) options->devices.push_back(Gloo::createDeviceForHostname(address));
    StorePtr prefixed = c10::make_intrusive<c10d::PrefixStore>("gloo", store->store);
    BackendPtr gloo = c10::make_intrusive<Gloo>(prefixed, rank, size, options);
    *group = new LstmtextGroup{store->store, rank, size, limit, gloo, {}};
  });
}

char *lstmtext_group_sum(LstmtextGroup *group, float *values, std::size_t count) {
  return guarded([&] { all_reduce(*group->gloo, tensor_of(values, count, at::kFloat)); });
}

char *lstmtext_group_sum_f64(LstmtextGroup *group, double *values, std::size_t count) {
  return guarded([&] { all_reduce(*group->gloo, tensor_of(values, count, at::kDouble)); });
}

// Sums a tensor on the CPU and waits for the result.
char *lstmtext_group_sum_cpu(LstmtextGroup *group, const at::Tensor *tensor) {
  return guarded([&] { all_reduce(*group->gloo, *tensor); });
}

// Prepares sums on CUDA devices.
char *lstmtext_group_connect_cuda(LstmtextGroup *group) {
  return guarded([&] {
    if (!group->nccl) group->nccl = make_nccl(*group);
  });
}

// Sums a tensor on a CUDA device, after lstmtext_group_connect_cuda. Later work on the current stream waits
// for the result; this function does not.
char *lstmtext_group_sum_cuda(LstmtextGroup *group, const at::Tensor *tensor) {
  return guarded([&] { all_reduce(*group->nccl, *tensor); });
}

char *lstmtext_group_broadcast(LstmtextGroup *group, std::uint8_t *bytes, std::size_t count) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{tensor_of(bytes, count, at::kByte)};
    group->gloo->broadcast(tensors)->wait();
  });
}

// `all` has `count` bytes for each process.
char *lstmtext_group_gather(LstmtextGroup *group, const std::uint8_t *own, std::size_t count,
                            std::uint8_t *all) {
  return guarded([&] {
    // c10d does not write to what it sends.
    std::vector<Part> sent(group->size, {const_cast<std::uint8_t *>(own), count}), received;
    for (int rank = 0; rank < group->size; ++rank) received.push_back({all + rank * count, count});
    exchange(*group, sent, received, /*tag=*/0);
    if (count) std::memcpy(received[group->rank].bytes, own, count);
  });
}

// `sent_counts` and `received_counts` have a count of floats for each process, the sums of which are the
// lengths of `sent` and `received`.
char *lstmtext_group_exchange(LstmtextGroup *group, const float *sent,
                              const std::int64_t *sent_counts, float *received,
                              const std::int64_t *received_counts) {
  return guarded([&] {
    auto parts = [&](const float *values, const std::int64_t *counts) {
      auto *bytes = reinterpret_cast<std::uint8_t *>(const_cast<float *>(values));
      std::vector<Part> parts;
      for (int rank = 0; rank < group->size; ++rank) {
        const std::size_t count = counts[rank] * sizeof(float);
        parts.push_back({bytes, count});
        bytes += count;
      }
      return parts;
    };
    const std::vector<Part> from = parts(sent, sent_counts), to = parts(received, received_counts);
    exchange(*group, from, to, /*tag=*/0);
    const Part &own = from[group->rank];
    if (own.count) std::memcpy(to[group->rank].bytes, own.bytes, own.count);
  });
}

// Leaves the group and frees it. If a process is lost, NCCL must not wait for it.
void lstmtext_group_leave(LstmtextGroup *group, bool is_lost) {
  std::free(guarded([&] {
    if (group->nccl && is_lost) group->nccl->abort();
    if (group->nccl) group->nccl->shutdown();
    if (!is_lost) group->gloo->shutdown();
  }));
  std::free(guarded([&] { delete group; }));
}
}
