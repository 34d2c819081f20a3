#include "cuda/pass_timer.hpp"

#include <algorithm>

#include "cuda/cuda_status.hpp"
#include "cuda/hold.hpp"

namespace inlay::cuda {
namespace {

constexpr std::uint64_t kLongestHold_ns = 10'000'000;  // queueing a pass takes one or two milliseconds

}  // namespace

PassTimer::PassTimer(int n_parts, cudaStream_t stream)
    : stream_(stream), marks_(static_cast<std::size_t>(n_parts) + 1), samples_us_(static_cast<std::size_t>(n_parts)) {}

PassTimer::~PassTimer() {
  if (released_.as() == nullptr) return;
  release();  // a round that has failed has left it held
  cudaStreamSynchronize(stream_);
}

Result<void> PassTimer::create() {
  for (Event& mark : marks_) INLAY_TRY(mark.create(cudaEventDefault));
  INLAY_TRY_ASSIGN(released_, DevicePool::take(sizeof(std::int32_t), MemoryKind::kPinnedHost, "profile"));
  release();
  return {};
}

void PassTimer::release() { *released_.as<volatile std::int32_t>() = 1; }

Result<void> PassTimer::begin() {
  auto* const released = released_.as<volatile std::int32_t>();
  *released = 0;
  INLAY_TRY(check(hold(released, kLongestHold_ns, stream_), "CUDA kernels"));
  return mark(0);
}

Result<void> PassTimer::finish() {
  release();
  INLAY_TRY(check(cudaStreamSynchronize(stream_), "CUDA pass"));
  for (std::size_t part = 0; part < samples_us_.size(); ++part) {
    INLAY_TRY_ASSIGN(const double us, marks_[part + 1].us_since(marks_[part]));
    samples_us_[part].push_back(us);
  }
  return {};
}

double PassTimer::median_us(int part) const {
  std::vector<double> samples = samples_us_[static_cast<std::size_t>(part)];
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

}  // namespace inlay::cuda
