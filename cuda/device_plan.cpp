#include "cuda/device_plan.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "base/try.hpp"
#include "cuda/cuda_status.hpp"

namespace inlay::cuda {
namespace {

std::size_t count(int a, int b = 1) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); }

std::size_t quantised_bytes(int n_rows, int n_cols) {
  return count(n_rows, input_steps(n_cols)) * (kStepBytes + sizeof(StepSums));
}

/// The step that reads the activations that step `writer` leaves; of those that all layers add to, the first that
/// normalises them.
const Step* reader_of(const Plan& plan, std::size_t writer) {
  const auto is_reader = [&](StepKind kind) {
    switch (plan.steps[writer].kind) {
      case StepKind::kAttend:
        return kind == StepKind::kProject;
      case StepKind::kFeedForward:
        return kind == StepKind::kDown;
      default:
        return kind == StepKind::kQkv || kind == StepKind::kFeedForward || kind == StepKind::kHead;
    }
  };
  for (std::size_t i = writer + 1; i < plan.steps.size(); ++i) {
    if (is_reader(plan.steps[i].kind)) return &plan.steps[i];
  }
  return nullptr;
}

/// The two formats that all matrices have which are multiplied with; or twice the same, if that cannot be said.
std::array<Format, 2> product_formats(const Plan& plan) {
  std::vector<Format> found;
  for (const Step& step : plan.steps) {
    if (step.kind == StepKind::kEmbed) continue;
    for (const MatrixId id : {step.matrix, step.second, step.third}) {
      if (id == kNoTensor) continue;
      const Format format = plan.tensors.matrix(id).format;
      if (std::find(found.begin(), found.end(), format) == found.end()) found.push_back(format);
    }
  }
  if (found.size() != 2) return {Format::kF32, Format::kF32};
  return {found[0], found[1]};
}

/// Takes all members of Buffers, or adds up their bytes.
template <class Visitor>
void for_each_buffer(const Plan& plan, int batch_rows, Buffers& buffers, const Visitor& visitor) {
  const ModelSpec& spec = plan.spec;
  constexpr std::size_t kFloat = sizeof(float);
  visitor(buffers.x, count(batch_rows, spec.embedding_length) * kFloat);
  visitor(buffers.query, count(batch_rows, spec.query_length()) * kFloat);
  visitor(buffers.attention, count(batch_rows, spec.query_length()) * kFloat);
  visitor(buffers.hidden, count(batch_rows, spec.feed_forward_length) * kFloat);
  visitor(buffers.quantised_x, quantised_bytes(batch_rows, spec.embedding_length));
  visitor(buffers.quantised_attention, quantised_bytes(batch_rows, spec.query_length()));
  visitor(buffers.quantised_hidden, quantised_bytes(batch_rows, spec.feed_forward_length));
  visitor(buffers.logits, count(kLogitRows, spec.vocab_size) * kFloat);
  visitor(buffers.best, count(kLogitRows) * sizeof(*MultiplyChoice::best));
  visitor(buffers.extremes, count(kLogitRows, slices_of(spec.vocab_size)) * sizeof(Extremes));
  visitor(buffers.bins, count(kLogitRows, kSampleBins) * sizeof(SampleBin));
  visitor(buffers.keys, count(kLogitRows, spec.vocab_size) * sizeof(*SampleArgs::keys));
  visitor(buffers.partial,
          count(kMostPartialRows * kMostSplits, spec.n_heads * floats_of_range(spec.head_size)) * kFloat);
  visitor(buffers.arrived, count(kMostPartialRows, spec.n_heads) * sizeof(unsigned));
  visitor(buffers.upload, PassUpload::bytes(count(batch_rows)));
  visitor(buffers.rope, count(batch_rows, spec.rope.n_pairs) * 2 * kFloat);
  visitor(buffers.frequencies, plan.rope.frequencies.size() * sizeof(double));
}

Result<void> check_plan(const Plan& plan, int batch_rows) {
  const ModelSpec& spec = plan.spec;
  const auto refuse = [](const std::string& what) {
    return Status(StatusCode::kUnsupported, "model option device: on CUDA " + what);
  };
  if (spec.head_size % 8 != 0 || spec.head_size > kMostHeadSize) {
    return refuse("heads must have a multiple of 8 and at most " + std::to_string(kMostHeadSize) +
                  " values, this model's have " + std::to_string(spec.head_size));
  }
  // Kernels count bytes of activations in 32 bits.
  const int longest = std::max({spec.embedding_length, spec.query_length(), spec.feed_forward_length});
  if (quantised_bytes(batch_rows, longest) > std::size_t{std::numeric_limits<std::int32_t>::max()}) {
    return refuse("batch_rows is too large for this model: " + std::to_string(batch_rows));
  }
  for (const Step& step : plan.steps) {
    if (step.kind == StepKind::kEmbed || step.matrix == kNoTensor) continue;
    const Matrix& matrix = plan.tensors.matrix(step.matrix);
    if (matrix.cols % 4 != 0) {
      return refuse("rows must have a multiple of 4 weights, those of tensor \"" + matrix.name + "\" have " +
                    std::to_string(matrix.cols));
    }
  }
  return {};
}

/// Whether the step multiplies with a matrix whose activations are, or are not, quantised.
bool has_matrix(const Plan& plan, const Step& step, bool of_quantised) {
  const auto is_such = [&](MatrixId id) {
    return id != kNoTensor && (record_info(plan.tensors.matrix(id).format).input == InputKind::kInt8) == of_quantised;
  };
  return is_such(step.matrix) || is_such(step.second) || is_such(step.third);
}
bool reads_floats(const Plan& plan, const Step* step) { return step == nullptr || has_matrix(plan, *step, false); }
bool reads_quantised(const Plan& plan, const Step* step) { return step != nullptr && has_matrix(plan, *step, true); }

/// What each step but the head hands over. Nothing if a step hands over in another way: heads whose values are not
/// whole steps of quantised activations need a kernel besides.
std::vector<RelayShape> relay_shapes(const Plan& plan, const KvLayout& layout) {
  const ModelSpec& spec = plan.spec;
  std::vector<RelayShape> shapes;
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const StepKind kind = plan.steps[i].kind;
    if (kind == StepKind::kHead) break;
    const Step* reader = reader_of(plan, i);
    RelayShape shape;
    if (kind == StepKind::kQkv) {
      shape.n_floats = spec.query_length();
      shape.kv_bytes = 2 * count(layout.n_kv_heads, layout.row_bytes);
    } else {
      const bool is_hidden = kind == StepKind::kFeedForward;
      const bool is_attention = kind == StepKind::kAttend;
      const int n_cols = is_hidden      ? spec.feed_forward_length
                         : is_attention ? spec.query_length()
                                        : spec.embedding_length;
      if (is_attention && reads_quantised(plan, reader) && spec.head_size % kStepOfInput != 0) return {};
      const bool is_residual = !is_hidden && !is_attention;
      shape.n_floats = is_residual || reads_floats(plan, reader) ? n_cols : 0;
      shape.n_quantised = reads_quantised(plan, reader) ? n_cols : 0;
      if (kind == StepKind::kEmbed) shape.n_pairs = spec.rope.n_pairs;
    }
    shapes.push_back(shape);
  }
  return shapes;
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
  INLAY_TRY(check_plan(plan, options.batch_rows));
  DevicePlan device;
  INLAY_TRY(check(read_limits(device.limits_), "CUDA device"));
  device.batch_rows_ = options.batch_rows;
  device.layout_ = layout;
  device.n_heads_ = plan.spec.n_heads;
  device.formats_ = product_formats(plan);
  INLAY_TRY_ASSIGN(device.weights_, Weights::load(plan, options, stream));
  INLAY_TRY_ASSIGN(device.buffers_, Buffers::create(plan, options.batch_rows));
  const Buffers& buffers = device.buffers_;
  for (const Memory* zeros : {&buffers.best, &buffers.arrived, &buffers.quantised_x, &buffers.quantised_attention,
                              &buffers.quantised_hidden}) {
    INLAY_TRY(check(cudaMemsetAsync(zeros->as(), 0, zeros->bytes(), stream), "work buffers"));
  }
  INLAY_TRY(check(cudaMemcpyAsync(buffers.frequencies.as(), plan.rope.frequencies.data(), buffers.frequencies.bytes(),
                                  cudaMemcpyHostToDevice, stream),
                  "work buffers"));
  INLAY_TRY(check(cudaStreamSynchronize(stream), "work buffers"));
  for (std::size_t step = 0; step < plan.steps.size(); ++step) {
    if (plan.steps[step].kind == StepKind::kHead) {
      device.plain_.head = device.plan_multiply(plan, step);
      INLAY_TRY(check(prepare_multiply(device.plain_.head), "CUDA kernels"));
      device.choice_.best = buffers.best.as<unsigned long long>();
      device.choice_.n_arrived = buffers.arrived.as<unsigned>();  // attention has ended by then
      device.sample_.logits = buffers.logits.as<float>();
      device.sample_.vocab_size = plan.spec.vocab_size;
      device.sample_.extremes = buffers.extremes.as<Extremes>();
      device.sample_.bins = buffers.bins.as<SampleBin>();
      device.sample_.keys = buffers.keys.as<unsigned long long>();
    } else {
      device.plain_.steps.push_back(device.plan_step(plan, step));
      const MultiplyArgs& product = device.plain_.steps.back().multiply;
      if (product.n_cols > 0) INLAY_TRY(check(prepare_multiply(product), "CUDA kernels"));
      const AttendArgs& attend = device.plain_.steps.back().attend;
      if (attend.n_heads > 0) INLAY_TRY(check(prepare_attend(attend), "CUDA kernels"));
    }
  }
  INLAY_TRY(device.plan_relay(plan, stream));
  return device;
}

DevicePlan::Handover DevicePlan::hand_over(const Plan& plan, const Step* reader, const Memory& memory,
                                           int n_cols) const {
  Handover over;
  if (reader == nullptr) return over;
  over.norm = weights_.vector(reader->norm);
  if (!reads_quantised(plan, reader)) return over;
  over.rows.n_steps = input_steps(n_cols);
  over.rows.words = memory.as();
  over.rows.sums = reinterpret_cast<StepSums*>(over.rows.words + count(batch_rows_, over.rows.n_steps) * kStepBytes);
  return over;
}

MultiplyArgs DevicePlan::plan_multiply(const Plan& plan, std::size_t step_index) const {
  const Step& step = plan.steps[step_index];
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
  const Memory& input = step.kind == StepKind::kProject ? buffers_.quantised_attention
                        : step.kind == StepKind::kDown  ? buffers_.quantised_hidden
                                                        : buffers_.quantised_x;
  args.quantised_x = hand_over(plan, &step, input, args.n_cols).rows;
  Handover output;
  switch (step.kind) {
    case StepKind::kQkv:
      args.epilogue = Epilogue::kQkv;
      args.x = buffers_.x.as<float>(), args.out = buffers_.query.as<float>();
      args.kv.layout = layout_;
      args.kv.layer = step.layer;
      args.kv.rope = buffers_.rope.as<float2>();
      args.kv.n_pairs = plan.spec.rope.n_pairs;
      break;
    case StepKind::kProject:
    case StepKind::kDown:
      args.epilogue = Epilogue::kAdd;
      args.x = step.kind == StepKind::kProject ? buffers_.attention.as<float>() : buffers_.hidden.as<float>();
      args.out = buffers_.x.as<float>();
      output = hand_over(plan, reader_of(plan, step_index), buffers_.quantised_x, plan.spec.embedding_length);
      break;
    case StepKind::kFeedForward:
      args.epilogue = Epilogue::kGated;
      args.x = buffers_.x.as<float>(), args.out = buffers_.hidden.as<float>();
      output = hand_over(plan, reader_of(plan, step_index), buffers_.quantised_hidden, plan.spec.feed_forward_length);
      break;
    default:
      args.epilogue = Epilogue::kStore;
      args.x = buffers_.x.as<float>(), args.out = buffers_.logits.as<float>();
      break;
  }
  args.quantised_out = output.rows;
  args.next_norm = output.norm;
  args.formats = formats_;
  args.out_stride = args.parts[0].matrix.n_rows;
  args.limits = limits_;
  choose_shape(args);
  return args;
}

DevicePlan::PlannedStep DevicePlan::plan_step(const Plan& plan, std::size_t step_index) const {
  const Step& step = plan.steps[step_index];
  PlannedStep planned{.kind = step.kind, .embed = {}, .multiply = {}, .attend = {}, .attention = {}};
  if (step.kind == StepKind::kEmbed) {
    planned.embed.table = weights_.matrix(step.matrix);
    planned.embed.frequencies = buffers_.frequencies.as<double>();
    planned.embed.magnitude = plan.rope.magnitude;
    planned.embed.n_pairs = plan.spec.rope.n_pairs;
    planned.embed.rope = buffers_.rope.as<float2>();
    planned.embed.x = buffers_.x.as<float>();
    const Handover output =
        hand_over(plan, reader_of(plan, step_index), buffers_.quantised_x, plan.spec.embedding_length);
    planned.embed.quantised_x = output.rows;
    planned.embed.next_norm = output.norm;
  } else if (step.kind == StepKind::kAttend) {
    AttendArgs& args = planned.attend;
    args.layout = layout_;
    args.layer = step.layer;
    args.n_heads = plan.spec.n_heads;
    args.shared_bytes = limits_.shared_bytes;
    args.scale = plan.spec.attention_scale;
    args.query = buffers_.query.as<float>(), args.out = buffers_.attention.as<float>();
    planned.attention =
        hand_over(plan, reader_of(plan, step_index), buffers_.quantised_attention, plan.spec.query_length()).rows;
    if (plan.spec.head_size % kStepOfInput == 0) args.quantised_out = std::exchange(planned.attention, {});
    args.partial = buffers_.partial.as<float>(), args.arrived = buffers_.arrived.as<unsigned>();
  } else {
    planned.multiply = plan_multiply(plan, step_index);
  }
  return planned;
}

std::uint64_t DevicePlan::work_bytes(const Plan& plan, int batch_rows, const KvLayout& layout) {
  return Buffers::bytes(plan, batch_rows) + Relay::bytes(relay_shapes(plan, layout));
}

Result<void> DevicePlan::plan_relay(const Plan& plan, cudaStream_t stream) {
  const std::vector<RelayShape> shapes = relay_shapes(plan, layout_);
  if (shapes.empty()) return {};
  INLAY_TRY_ASSIGN(relay_, Relay::create(shapes, stream));
  INLAY_TRY(check(cudaStreamSynchronize(stream), "work buffers"));
  for (int set = 0; set < kRelaySets; ++set) relayed_[static_cast<std::size_t>(set)] = relayed(set);
  return {};
}

/// The plain pass with other places to hand over.
DevicePlan::PlannedPass DevicePlan::relayed(int set) const {
  PlannedPass pass = plain_;
  RelayPlace x;        // what all layers add to, as the last of them left it
  RelayPlace latest;   // what the step before made
  RelayPlace queries;  // of the layer
  float2* rope = nullptr;
  const auto read = [](MultiplyArgs& args, const RelayPlace& from) {
    args.is_relayed = true;
    args.x = from.floats;
    args.quantised_x = from.quantised;
  };
  const auto write = [](MultiplyArgs& args, const RelayPlace& to) {
    args.out = to.floats;
    args.quantised_out = to.quantised;
  };
  for (std::size_t i = 0; i < pass.steps.size(); ++i) {
    PlannedStep& step = pass.steps[i];
    const RelayPlace own = relay_.place(set, i);
    switch (step.kind) {
      case StepKind::kEmbed:
        step.embed.x = own.floats;
        step.embed.quantised_x = own.quantised;
        step.embed.rope = rope = own.rope;
        step.embed.blank = relay_.begin(kRelaySets - 1 - set);
        step.embed.blank_bytes = relay_.set_bytes();
        x = own;
        break;
      case StepKind::kAttend:
        step.attend.query = queries.floats;
        step.attend.relay = queries.kv;
        step.attend.out = own.floats;
        step.attend.quantised_out = own.quantised;
        break;
      case StepKind::kQkv:
        read(step.multiply, x);
        write(step.multiply, own);
        step.multiply.kv.relay = own.kv;
        step.multiply.kv.rope = rope;
        queries = own;
        break;
      case StepKind::kFeedForward:
        read(step.multiply, x);
        write(step.multiply, own);
        break;
      default:  // adds to x
        read(step.multiply, latest);
        write(step.multiply, own);
        step.multiply.residual = x.floats;
        x = own;
        break;
    }
    latest = own;
  }
  read(pass.head, x);
  return pass;
}

void DevicePlan::set_state(const PassState& state) {
  for (PlannedPass* pass : {&plain_, &relayed_[0], &relayed_[1]}) {
    for (PlannedStep& step : pass->steps) step.embed.state = step.multiply.kv.state = step.attend.state = state;
    pass->head.kv.state = state;
    pass->head.row_map = state.logit_rows;
  }
  choice_.state = sample_.state = state;
}

std::uint64_t DevicePlan::weight_bytes(int step) const {
  std::uint64_t bytes = 0;
  if (step >= 0 && (kind(step) == StepKind::kEmbed || kind(step) == StepKind::kAttend)) return bytes;
  const MultiplyArgs& args = step < 0 ? plain_.head : plain_.steps[static_cast<std::size_t>(step)].multiply;
  for (int i = 0; i < args.n_parts; ++i) {
    const DeviceMatrix& matrix = args.parts[static_cast<std::size_t>(i)].matrix;
    bytes += records_bytes(matrix.format, matrix.n_rows, matrix.n_cols);
  }
  return bytes;
}

std::uint64_t DevicePlan::read_bytes(int step, int position) const {
  if (step >= 0 && kind(step) == StepKind::kEmbed) {
    const DeviceMatrix& table = plain_.steps[static_cast<std::size_t>(step)].embed.table;
    return records_bytes(table.format, kPanelRows, table.n_cols) / kPanelRows;  // of one row
  }
  if (step >= 0 && kind(step) == StepKind::kAttend) {
    return 2 * count(position + 1, layout_.n_kv_heads) * count(layout_.row_bytes);
  }
  return weight_bytes(step);
}

MultiplyArgs& DevicePlan::product(PlannedPass& pass, int step) {
  return step < 0 ? pass.head : pass.steps[static_cast<std::size_t>(step)].multiply;
}

bool DevicePlan::set_shape(int step, int warps_of_group, int n_groups, int panels_of_group) {
  if (n_groups * panels_of_group % panels_unit(product(plain_, step)) != 0) return false;
  if (panels_of_group > 2 * warps_of_group) return false;
  cuda::set_shape(product(plain_, step), warps_of_group, n_groups, panels_of_group);
  if (!can_relay()) return true;
  for (PlannedPass& pass : relayed_) cuda::set_shape(product(pass, step), warps_of_group, n_groups, panels_of_group);
  return true;
}

cudaError_t DevicePlan::launch_step(PlannedStep& planned, int n_rows, int head_size, cudaStream_t stream) {
  switch (planned.kind) {
    case StepKind::kEmbed:
      planned.embed.n_rows = n_rows;
      return embed(planned.embed, stream);
    case StepKind::kAttend:
      planned.attend.n_rows = n_rows;
      if (const cudaError_t error = attend(planned.attend, stream); error != cudaSuccess) return error;
      if (planned.attention.words == nullptr) return cudaSuccess;
      return quantise(planned.attend.out, nullptr, n_rows, planned.attend.n_heads * head_size, planned.attention,
                      stream);
    default:
      planned.multiply.n_rows = n_rows;
      return multiply(planned.multiply, stream);
  }
}

cudaError_t DevicePlan::launch(int step, int n_rows, cudaStream_t stream) {
  return launch_step(plain_.steps[static_cast<std::size_t>(step)], n_rows, layout_.head_size, stream);
}

DevicePlan::PlannedPass& DevicePlan::pass_of(int set) {
  return set == kNoSet ? plain_ : relayed_[static_cast<std::size_t>(set)];
}

cudaError_t DevicePlan::launch_body(int n_rows, int set, cudaStream_t stream) {
  for (PlannedStep& step : pass_of(set).steps) {
    const cudaError_t error = launch_step(step, n_rows, layout_.head_size, stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t DevicePlan::launch_head(int first, int n, int set, bool is_joined, bool chooses, cudaStream_t stream) {
  MultiplyArgs head = pass_of(set).head;
  head.n_rows = n;
  head.row_map += first;
  head.is_relayed = set != kNoSet && is_joined;
  if (chooses) head.choice = choice_, head.out = nullptr;
  return multiply(head, stream);
}

cudaError_t DevicePlan::launch_sample(int n, cudaStream_t stream) {
  sample_.n = n;
  return sample(sample_, stream);
}

}  // namespace inlay::cuda
