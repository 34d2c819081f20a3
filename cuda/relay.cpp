#include "cuda/relay.hpp"

#include "base/try.hpp"
#include "cuda/cuda_status.hpp"

namespace inlay::cuda {
namespace {

constexpr std::size_t kAlignment = 128;  // a line of the caches

std::size_t count(int n) { return static_cast<std::size_t>(n); }

}  // namespace

Relay::Offsets Relay::lay_out(const RelayShape& shape, std::size_t& end) {
  const auto take = [&](std::size_t bytes) {
    const std::size_t offset = end;
    end += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return offset;
  };
  Offsets offsets;
  const std::size_t n_steps = count(input_steps(shape.n_quantised));
  offsets.floats = take(count(shape.n_floats) * sizeof(float));
  offsets.words = take(n_steps * kStepBytes);
  offsets.sums = take(n_steps * sizeof(StepSums));
  offsets.kv = take(shape.kv_bytes);
  offsets.rope = take(count(shape.n_pairs) * sizeof(float2));
  return offsets;
}

std::uint64_t Relay::bytes(const std::vector<RelayShape>& shapes) {
  std::size_t end = 0;
  for (const RelayShape& shape : shapes) lay_out(shape, end);
  return std::uint64_t{kRelaySets} * end;
}

Result<Relay> Relay::create(const std::vector<RelayShape>& shapes, cudaStream_t stream) {
  Relay relay;
  relay.shapes_ = shapes;
  for (const RelayShape& shape : shapes) relay.offsets_.push_back(lay_out(shape, relay.set_bytes_));
  INLAY_TRY_ASSIGN(relay.memory_, DevicePool::take(kRelaySets * relay.set_bytes_, MemoryKind::kDevice, "work buffers"));
  INLAY_TRY(check(cudaMemsetAsync(relay.memory_.as(), static_cast<int>(kAbsent & 0xFFU), relay.memory_.bytes(), stream),
                  "work buffers"));
  return relay;
}

RelayPlace Relay::place(int set, std::size_t index) const {
  const RelayShape& shape = shapes_[index];
  const Offsets& offsets = offsets_[index];
  std::byte* base = begin(set);
  RelayPlace place;
  if (shape.n_floats > 0) place.floats = reinterpret_cast<float*>(base + offsets.floats);
  if (shape.n_quantised > 0) {
    place.quantised.words = base + offsets.words;
    place.quantised.sums = reinterpret_cast<StepSums*>(base + offsets.sums);
    place.quantised.n_steps = input_steps(shape.n_quantised);
  }
  if (shape.kv_bytes > 0) place.kv = base + offsets.kv;
  if (shape.n_pairs > 0) place.rope = reinterpret_cast<float2*>(base + offsets.rope);
  return place;
}

}  // namespace inlay::cuda
