// C functions for parts of libtorch that tch 0.24 does not bind: fused optimizers, settings of CUDA
// kernels, the profiler and the version.
//
// Functions that can fail return null on success, otherwise a message that the caller frees with
// lstmtext_free. Tensors are passed as the handles of tch, pointers to at::Tensor.

#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <set>
#include <vector>

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <torch/csrc/autograd/profiler_kineto.h>
#include <torch/version.h>

namespace {

std::vector<at::Tensor> list(at::Tensor *const *tensors, std::size_t count) {
  std::vector<at::Tensor> list;
  list.reserve(count);
  for (std::size_t i = 0; i < count; ++i) list.push_back(*tensors[i]);
  return list;
}

template <typename Function> char *guarded(Function function) {
  try {
    function();
    return nullptr;
  } catch (const std::exception &error) {
    return strdup(error.what());
  }
}

} // namespace

extern "C" {

char *lstmtext_fused_adam(at::Tensor *const *weights, at::Tensor *const *gradients,
                          at::Tensor *const *means, at::Tensor *const *squares,
                          at::Tensor *const *steps, std::size_t count, double learning_rate,
                          double beta1, double beta2, double weight_decay, double epsilon,
                          bool decoupled, const at::Tensor *skipped) {
  return guarded([&] {
    auto fused = [&](auto function) {
      function(list(weights, count), list(gradients, count), list(means, count),
               list(squares, count), {}, list(steps, count), learning_rate, beta1, beta2,
               weight_decay, epsilon, false, false, {}, *skipped);
    };
    using Tensors = at::TensorList;
    using Optional = const std::optional<at::Tensor> &;
    using Function = void (*)(Tensors, Tensors, Tensors, Tensors, Tensors, Tensors, double, double,
                              double, double, double, bool, bool, Optional, Optional);
    fused(decoupled ? static_cast<Function>(at::_fused_adamw_)
                    : static_cast<Function>(at::_fused_adam_));
  });
}

char *lstmtext_fused_sgd(at::Tensor *const *weights, at::Tensor *const *gradients,
                         at::Tensor *const *momenta, std::size_t count, double learning_rate,
                         double momentum, double weight_decay, bool nesterov,
                         const at::Tensor *skipped) {
  return guarded([&] {
    at::_fused_sgd_(list(weights, count), list(gradients, count),
                    momentum == 0.0 ? std::vector<at::Tensor>{} : list(momenta, count),
                    weight_decay, momentum, learning_rate, /*dampening=*/0.0, nesterov,
                    /*maximize=*/false, /*is_first_step=*/false, {}, *skipped);
  });
}

char *lstmtext_set_numerics(bool tf32, bool deterministic) {
  return guarded([&] {
    at::Context &context = at::globalContext();
    context.setAllowTF32CuDNN(tf32);
    context.setAllowTF32CuBLAS(tf32);
    context.setBenchmarkCuDNN(false);
    context.setDeterministicCuDNN(deterministic);
    context.setDeterministicAlgorithms(deterministic, /*warn_only=*/false);
    // No kernel reads uninitialized memory.
    context.setDeterministicFillUninitializedMemory(false);
  });
}

char *lstmtext_trace_begin(bool cuda) {
  return guarded([&] {
    using namespace torch::autograd::profiler;
    using torch::profiler::impl::ActivityType;
    std::set<ActivityType> activities{ActivityType::CPU};
    if (cuda) {
      activities.insert(ActivityType::CUDA);
    } else {
      // Otherwise the profiler warns that there is no GPU.
      setenv("KINETO_LOG_LEVEL", "5", /*overwrite=*/0);
    }
    const ProfilerConfig config(ProfilerState::KINETO);
    prepareProfiler(config, activities);
    enableProfiler(config, activities,
                   {at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION});
  });
}

char *lstmtext_trace_end(const char *path) {
  return guarded([&] { torch::autograd::profiler::disableProfiler()->save(path); });
}

const char *lstmtext_torch_version() { return TORCH_VERSION; }

void lstmtext_free(char *message) { std::free(message); }
}
