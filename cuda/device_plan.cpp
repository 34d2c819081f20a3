#include "cuda/device_plan.hpp"

#include <string>
#include <utility>

#include "base/try.hpp"
#include "cuda/cuda_status.hpp"

namespace inlay::cuda {
namespace {

std::size_t count(int a, int b = 1) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); }

/// Takes all members of Buffers, or adds up their bytes.
template <class Visitor>
void for_each_buffer(const Plan& plan, int batch_rows, Buffers& buffers, const Visitor& visitor) {
  const ModelSpec& spec = plan.spec;
  constexpr std::size_t kFloat = sizeof(float);
  visitor(buffers.x, count(batch_rows, spec.embedding_length) * kFloat);
  visitor(buffers.query, count(batch_rows, spec.query_length()) * kFloat);
  visitor(buffers.attention, count(batch_rows, spec.query_length()) * kFloat);
  visitor(buffers.hidden, count(batch_rows, spec.feed_forward_length) * kFloat);
  visitor(buffers.logits, count(kLogitRows, spec.vocab_size) * kFloat);
  visitor(buffers.partial, count(kMostPartialRows, spec.query_length() + 4 * spec.n_heads) * kFloat);
  visitor(buffers.arrived, count(batch_rows, spec.n_heads) * sizeof(unsigned));
  visitor(buffers.rows, count(batch_rows) * (sizeof(PassRow) + sizeof(std::int32_t)));
  visitor(buffers.rope, count(batch_rows, spec.rope.n_pairs) * 2 * kFloat);
  visitor(buffers.frequencies, plan.rope.frequencies.size() * sizeof(double));
}

Result<void> check_plan(const Plan& plan) {
  const ModelSpec& spec = plan.spec;
  const auto refuse = [](const std::string& what) {
    return Status(StatusCode::kUnsupported, "model option device: on CUDA " + what);
  };
  if (spec.head_size % 8 != 0 || spec.head_size > kMostHeadSize) {
    return refuse("heads must have a multiple of 8 and at most " + std::to_string(kMostHeadSize) +
                  " values, this model's have " + std::to_string(spec.head_size));
  }
  for (const Step& step : plan.steps) {
    if (step.kind == StepKind::kEmbed || step.matrix == kNoTensor) continue;
    const Matrix& matrix = plan.tensors.matrix(step.matrix);
    if (matrix.cols % 8 != 0 || !multiply_fits(matrix.format, matrix.cols)) {
      return refuse("rows of " + std::to_string(matrix.cols) + " weights are too long or no multiple of 8: tensor \"" +
                    matrix.name + "\"");
    }
    if (step.kind != StepKind::kFeedForward) continue;
    const Matrix& up = plan.tensors.matrix(step.second);
    if (record_info(matrix.format).input != record_info(up.format).input) {
      return refuse("the formats of tensors \"" + matrix.name + "\" and \"" + up.name + "\" cannot be mixed");
    }
  }
  return {};
}

}  // namespace

Result<Buffers> Buffers::create(const Plan& plan, int batch_rows) {
  Buffers buffers;
  Result<void> done;
  for_each_buffer(plan, batch_rows, buffers, [&](Memory& memory, std::size_t bytes) {
    if (!done.ok()) return;
    Result<Memory> taken = DevicePool::take(bytes, MemoryKind::kDevice, "work buffers");
    if (taken.ok()) {
      memory = *std::move(taken);
    } else {
      done = taken.status();
    }
  });
  INLAY_TRY(done);
  return buffers;
}

std::uint64_t Buffers::bytes(const Plan& plan, int batch_rows) {
  Buffers none;
  std::uint64_t total = 0;
  for_each_buffer(plan, batch_rows, none, [&](Memory&, std::size_t bytes) { total += bytes; });
  return total;
}

Result<DevicePlan> DevicePlan::create(const Plan& plan, const ExecutorOptions& options, const KvLayout& layout,
                                      cudaStream_t stream) {
  INLAY_TRY(check_plan(plan));
  INLAY_TRY(check(prepare_multiply(), "CUDA kernels"));
  DevicePlan device;
  device.layout_ = layout;
  device.n_heads_ = plan.spec.n_heads;
  INLAY_TRY(check(cudaDeviceGetAttribute(&device.n_processors_, cudaDevAttrMultiProcessorCount, options.device_index),
                  "CUDA device"));
  INLAY_TRY_ASSIGN(device.weights_, Weights::load(plan, options, stream));
  INLAY_TRY_ASSIGN(device.buffers_, Buffers::create(plan, options.batch_rows));
  const Buffers& buffers = device.buffers_;
  INLAY_TRY(check(cudaMemsetAsync(buffers.arrived.as(), 0, buffers.arrived.bytes(), stream), "work buffers"));
  INLAY_TRY(check(cudaMemcpyAsync(buffers.frequencies.as(), plan.rope.frequencies.data(), buffers.frequencies.bytes(),
                                  cudaMemcpyHostToDevice, stream),
                  "work buffers"));
  INLAY_TRY(check(cudaStreamSynchronize(stream), "work buffers"));
  for (const Step& step : plan.steps) {
    if (step.kind == StepKind::kHead) {
      device.head_ = device.plan_multiply(plan, step);
      device.choose_.logits = buffers.logits.as<float>();
      device.choose_.vocab_size = plan.spec.vocab_size;
    } else {
      device.steps_.push_back(device.plan_step(plan, step));
    }
  }
  return device;
}

MultiplyArgs DevicePlan::plan_multiply(const Plan& plan, const Step& step) const {
  MultiplyArgs args;
  const auto add_part = [&](MatrixId matrix, VectorId bias) {
    if (matrix == kNoTensor) return;
    args.parts[static_cast<std::size_t>(args.n_parts)] = {weights_.matrix(matrix), weights_.vector(bias), 0};
    ++args.n_parts;
  };
  args.n_parts = 0;
  add_part(step.matrix, step.bias);
  add_part(step.second, step.second_bias);
  add_part(step.third, step.third_bias);
  args.norm = weights_.vector(step.norm);
  args.epsilon = plan.spec.norm_epsilon;
  args.n_cols = args.parts[0].matrix.n_cols;
  switch (step.kind) {
    case StepKind::kQkv:
      args.epilogue = Epilogue::kQkv;
      args.x = buffers_.x.as<float>(), args.out = buffers_.query.as<float>();
      args.kv.layout = layout_;
      args.kv.layer = step.layer;
      args.kv.n_pairs = plan.spec.rope.n_pairs;
      break;
    case StepKind::kProject:
    case StepKind::kDown:
      args.epilogue = Epilogue::kAdd;
      args.x = step.kind == StepKind::kProject ? buffers_.attention.as<float>() : buffers_.hidden.as<float>();
      args.out = buffers_.x.as<float>();
      break;
    case StepKind::kFeedForward:
      args.epilogue = Epilogue::kGated;
      args.x = buffers_.x.as<float>(), args.out = buffers_.hidden.as<float>();
      break;
    default:
      args.epilogue = Epilogue::kStore;
      args.x = buffers_.x.as<float>(), args.out = buffers_.logits.as<float>();
      break;
  }
  args.out_stride = args.parts[0].matrix.n_rows;
  choose_shape(args, n_processors_);
  return args;
}

DevicePlan::PlannedStep DevicePlan::plan_step(const Plan& plan, const Step& step) const {
  PlannedStep planned{.kind = step.kind, .embed = {}, .multiply = {}, .attend = {}};
  if (step.kind == StepKind::kEmbed) {
    planned.embed.table = weights_.matrix(step.matrix);
    planned.embed.frequencies = buffers_.frequencies.as<double>();
    planned.embed.magnitude = plan.rope.magnitude;
    planned.embed.n_pairs = plan.spec.rope.n_pairs;
    planned.embed.x = buffers_.x.as<float>();
  } else if (step.kind == StepKind::kAttend) {
    AttendArgs& args = planned.attend;
    args.layout = layout_;
    args.layer = step.layer;
    args.n_heads = plan.spec.n_heads;
    args.scale = plan.spec.attention_scale;
    args.query = buffers_.query.as<float>(), args.out = buffers_.attention.as<float>();
    args.partial = buffers_.partial.as<float>(), args.arrived = buffers_.arrived.as<unsigned>();
  } else {
    planned.multiply = plan_multiply(plan, step);
  }
  return planned;
}

void DevicePlan::set_state(const PassState& state) {
  for (PlannedStep& step : steps_) step.embed.state = step.multiply.kv.state = step.attend.state = state;
  head_.kv.state = choose_.state = state;
}

std::uint64_t DevicePlan::weight_bytes(int step) const {
  const PlannedStep& planned = steps_[static_cast<std::size_t>(step)];
  std::uint64_t bytes = 0;
  if (planned.kind == StepKind::kEmbed || planned.kind == StepKind::kAttend) return bytes;
  for (int i = 0; i < planned.multiply.n_parts; ++i) {
    const DeviceMatrix& matrix = planned.multiply.parts[static_cast<std::size_t>(i)].matrix;
    bytes += records_bytes(matrix.format, matrix.n_rows, matrix.n_cols);
  }
  return bytes;
}

void DevicePlan::set_shape(int step, int warps_per_panel, int panels_per_block) {
  MultiplyArgs& args = step < 0 ? head_ : steps_[static_cast<std::size_t>(step)].multiply;
  cuda::set_shape(args, warps_per_panel, panels_per_block);
}

cudaError_t DevicePlan::launch(int step, int n_rows, cudaStream_t stream) {
  PlannedStep& planned = steps_[static_cast<std::size_t>(step)];
  switch (planned.kind) {
    case StepKind::kEmbed:
      planned.embed.n_rows = n_rows;
      return embed(planned.embed, stream);
    case StepKind::kAttend:
      planned.attend.n_rows = n_rows;
      planned.attend.n_splits = choose_splits(layout_, n_heads_, n_rows, n_processors_);
      return attend(planned.attend, stream);
    default:
      planned.multiply.n_rows = n_rows;
      return multiply(planned.multiply, stream);
  }
}

cudaError_t DevicePlan::launch_body(int n_rows, cudaStream_t stream) {
  for (int step = 0; step < n_steps(); ++step) {
    const cudaError_t error = launch(step, n_rows, stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t DevicePlan::launch_head(int first, int n, cudaStream_t stream) {
  head_.n_rows = n;
  head_.row_map = head_.kv.state.logit_rows + first;
  return multiply(head_, stream);
}

cudaError_t DevicePlan::launch_choose(int n, cudaStream_t stream) {
  choose_.n = n;
  return choose(choose_, stream);
}

}  // namespace inlay::cuda
