// How long each kind of step takes on the GPU: the kernels of one kind of all layers, captured as a graph and replayed,
// so that every launch reads other weights. The last rows are whole passes and the choice of tokens.
// Usage: inlay_cuda_steps MODEL.gguf [rows] [position] [rounds]
// In each of the rounds, the products of one kind after the other are cut in every way, and the ways that make the pass
// fastest are printed.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "base/mapped_file.hpp"
#include "cuda/device_plan.hpp"
#include "cuda/kv_memory.hpp"
#include "cuda/stream.hpp"
#include "gguf/gguf.hpp"
#include "model/kv_page.hpp"

namespace {

using namespace inlay;

const char* name_of(StepKind kind) {
  switch (kind) {
    case StepKind::kEmbed:
      return "embed";
    case StepKind::kQkv:
      return "norm, q, k, v, rope, store";
    case StepKind::kAttend:
      return "attend";
    case StepKind::kProject:
      return "project, add";
    case StepKind::kFeedForward:
      return "norm, gate, up, activation";
    case StepKind::kDown:
      return "down, add";
    case StepKind::kHead:
      return "norm, head";
  }
  return "";
}

template <class T>
T need(Result<T> result) {
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", result.status().message().c_str());
    std::exit(1);
  }
  return *std::move(result);
}
void need(const Result<void>& result) {
  if (result.ok()) return;
  std::fprintf(stderr, "%s\n", result.status().message().c_str());
  std::exit(1);
}
void need(cudaError_t error) { need(cuda::check(error, "CUDA")); }

/// Median milliseconds of a graph, of some that are launched in turn. Before each round, `prepare()`.
template <class Prepare>
double replay_ms(cudaStream_t stream, const std::vector<cuda::Graph>& graphs, int n_replays, const Prepare& prepare) {
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  need(cudaEventCreate(&begin));
  need(cudaEventCreate(&end));
  std::vector<float> times;
  for (int round = 0; round < 11; ++round) {
    prepare();
    need(cudaEventRecord(begin, stream));
    for (int i = 0; i < n_replays; ++i) need(graphs[static_cast<std::size_t>(i) % graphs.size()].launch(stream));
    need(cudaEventRecord(end, stream));
    need(cudaEventSynchronize(end));
    float ms = 0.0F;
    need(cudaEventElapsedTime(&ms, begin, end));
    times.push_back(ms / static_cast<float>(n_replays));
  }
  need(cudaEventDestroy(begin));
  need(cudaEventDestroy(end));
  std::sort(times.begin(), times.end());
  return static_cast<double>(times[times.size() / 2]);
}

template <class Launch>
cuda::Graph capture(cudaStream_t stream, const Launch& launch) {
  cuda::Graph graph;
  need(graph.capture(stream, launch));
  return graph;
}

/// The same of what `launch()` puts on the stream.
template <class Launch>
double replay_ms(cudaStream_t stream, const Launch& launch, int n_replays = 20) {
  std::vector<cuda::Graph> graphs;
  graphs.push_back(capture(stream, launch));
  return replay_ms(stream, graphs, n_replays, [] {});
}

void print(const std::string& name, int launches, double ms, std::uint64_t bytes) {
  const double us = 1000.0 * ms / std::max(launches, 1);
  const double each = static_cast<double>(bytes) / std::max(launches, 1);
  std::printf("%-28s %8d %9.2f %9.2f %10.3f %8.2f\n", name.c_str(), launches, 1000.0 * ms, us, each / 1e6,
              each / us / 1e6);
}

/// A way to cut a product (cuda::set_shape), and how long a pass takes with it.
struct Cut {
  int warps, groups, panels;
  double us = 0.0;
};

std::vector<Cut> all_cuts(bool gated) {
  std::vector<Cut> cuts;
  for (const int warps : {2, 3, 4, 5, 6, 7, 8, 11, 15, 16}) {
    for (int groups = gated ? 2 : 1; warps * groups <= 16; groups += gated ? 2 : 1) {
      for (const int panels : {1, 2, 3, 4, 6, 8}) cuts.push_back({warps, groups, panels});
    }
  }
  return cuts;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const int n_rows = argc > 2 ? std::atoi(argv[2]) : 1;
  const int position = argc > 3 ? std::atoi(argv[3]) : 0;
  const MappedFile mapped = need(MappedFile::open(argv[1]));
  const gguf::File file = need(gguf::File::parse(mapped.bytes()));
  const Plan plan = need(make_plan(file));
  ExecutorOptions options;
  options.batch_rows = std::max(n_rows, 8);
  cuda::Stream stream;
  need(stream.create());
  cuda::KvMemory kv(plan.spec, options.kv_format);
  cuda::DevicePlan device = need(cuda::DevicePlan::create(plan, options, kv.layout(), stream.get()));

  constexpr int kChosen = 20;  // passes of a round that choose tokens, and go on to the next position
  const int n_pages = (position + kChosen + kKvPagePositions) / kKvPagePositions;
  need(kv.reserve(n_pages, stream.get()));
  std::vector<std::byte*> pages;
  for (int i = 0; i < n_pages; ++i) pages.push_back(kv.page(i));
  cuda::Memory table = need(cuda::DevicePool::take(pages.size() * 8, cuda::MemoryKind::kDevice, "pages"));
  need(cudaMemcpy(table.as(), pages.data(), pages.size() * 8, cudaMemcpyHostToDevice));
  cuda::PassState state;
  const cuda::PassUpload upload(device.buffers().upload.as(), options.batch_rows);
  state.rows = upload.rows;
  state.logit_rows = upload.logit_rows;
  state.pages = table.as<std::byte*>();
  cuda::Memory n_chosen =
      need(cuda::DevicePool::take(cuda::kLogitRows * sizeof(unsigned), cuda::MemoryKind::kDevice, "counts"));
  cuda::Memory chosen = need(cuda::DevicePool::take(cuda::kChoiceRing * cuda::kLogitRows * sizeof(std::int32_t),
                                                    cuda::MemoryKind::kPinnedHost, "tokens"));
  need(cudaMemset(n_chosen.as(), 0, n_chosen.bytes()));
  state.choices = upload.choices;
  state.n_chosen = n_chosen.as<unsigned>();
  state.host_tokens = chosen.as<std::int32_t>();
  const std::vector<cuda::PassRow> rows(static_cast<std::size_t>(n_rows), cuda::PassRow{7, position, 0});
  std::vector<std::int32_t> logit_rows(static_cast<std::size_t>(n_rows));
  for (int i = 0; i < n_rows; ++i) logit_rows[static_cast<std::size_t>(i)] = i;
  const auto reset_rows = [&] {
    need(cudaMemcpy(state.rows, rows.data(), rows.size() * sizeof(cuda::PassRow), cudaMemcpyHostToDevice));
  };
  reset_rows();
  const std::vector<cuda::RowChoice> draws(cuda::kLogitRows, cuda::RowChoice{0.8F, 40, 0.95F, -INFINITY, 1});
  need(cudaMemcpy(state.choices, draws.data(), draws.size() * sizeof(cuda::RowChoice), cudaMemcpyHostToDevice));
  need(cudaMemcpy(state.logit_rows, logit_rows.data(), logit_rows.size() * 4, cudaMemcpyHostToDevice));
  device.set_state(state);

  std::printf("%-28s %8s %9s %9s %10s %8s\n", "step", "kernels", "us", "us each", "MB each", "TB/s");
  std::map<StepKind, std::vector<int>> steps;
  std::uint64_t total_bytes = 0;
  for (int i = 0; i < device.n_steps(); ++i) steps[device.kind(i)].push_back(i);
  for (const auto& [kind, indices] : steps) {
    std::uint64_t bytes = 0;
    for (const int i : indices) bytes += device.weight_bytes(i);
    total_bytes += bytes;
    const double ms = replay_ms(stream.get(), [&] {
      for (const int i : indices) {
        if (const cudaError_t error = device.launch(i, n_rows, stream.get()); error != cudaSuccess) return error;
      }
      return cudaSuccess;
    });
    print(name_of(kind), static_cast<int>(indices.size()), ms, bytes);
  }
  const int n_logits = std::min(n_rows, cuda::kLogitRows);
  // Passes that hand over word by word take two sets of places in turn.
  const auto launch_pass = [&](int set, bool chooses = false) {
    const cudaError_t error = device.launch_body(n_rows, set, stream.get());
    return error != cudaSuccess ? error : device.launch_head(0, n_logits, set, true, chooses, stream.get());
  };
  std::vector<int> sets = {cuda::kNoSet};
  if (n_rows == 1 && device.can_relay()) {
    sets.clear();
    for (int set = 0; set < cuda::kRelaySets; ++set) sets.push_back(set);
  }
  const auto n_passes = static_cast<int>(sets.size());
  const auto pass = [&] {
    cudaError_t error = cudaSuccess;
    for (const int set : sets) {
      if (error == cudaSuccess) error = launch_pass(set);
    }
    return error;
  };
  if (argc > 4) {
    const auto tune = [&](const std::string& name, const std::vector<int>& indices, bool gated) {
      std::vector<Cut> found;
      for (const Cut& cut : all_cuts(gated)) {
        bool is_allowed = true;
        for (const int i : indices) is_allowed &= device.set_shape(i, cut.warps, cut.groups, cut.panels);
        if (!is_allowed) continue;
        found.push_back(cut);
        found.back().us = 1000.0 * replay_ms(stream.get(), pass, 4) / n_passes;
      }
      std::sort(found.begin(), found.end(), [](const Cut& a, const Cut& b) { return a.us < b.us; });
      std::printf("%s:", name.c_str());
      for (std::size_t i = 0; i < std::min<std::size_t>(found.size(), 8); ++i) {
        std::printf("  %dx%dx%d %.1f", found[i].warps, found[i].groups, found[i].panels, found[i].us);
      }
      std::printf("\n");
      for (const int i : indices) device.set_shape(i, found[0].warps, found[0].groups, found[0].panels);
    };
    for (int round = 0; round < std::atoi(argv[4]); ++round) {
      for (const auto& [kind, indices] : steps) {
        if (device.weight_bytes(indices[0]) > 0) tune(name_of(kind), indices, kind == StepKind::kFeedForward);
      }
      tune("head", {-1}, false);
    }
  }
  const std::uint64_t head_bytes = device.weight_bytes(-1);
  print(name_of(StepKind::kHead), 1,
        replay_ms(stream.get(),
                  [&] { return device.launch_head(0, n_logits, cuda::kNoSet, false, false, stream.get()); }),
        head_bytes);
  print("all, waiting for kernels", 1, replay_ms(stream.get(), [&] { return launch_pass(cuda::kNoSet); }),
        total_bytes + head_bytes);
  print("whole pass", 1, replay_ms(stream.get(), pass) / n_passes, total_bytes + head_bytes);
  const auto draw = [&] { return device.launch_sample(n_logits, stream.get()); };
  std::vector<cuda::Graph> graphs;
  graphs.push_back(
      capture(stream.get(), [&] { return device.launch_head(0, n_logits, cuda::kNoSet, false, true, stream.get()); }));
  print("norm, head, highest logit", 1, replay_ms(stream.get(), graphs, kChosen, reset_rows), head_bytes);
  graphs.clear();
  graphs.push_back(capture(stream.get(), draw));
  print("draw", 1, replay_ms(stream.get(), graphs, kChosen, reset_rows), 0);
  double chosen_ms = 0.0;
  for (const bool is_drawn : {true, false}) {
    graphs.clear();
    for (const int set : sets) {
      graphs.push_back(capture(stream.get(), [&] {
        const cudaError_t error = launch_pass(set, !is_drawn);
        return error == cudaSuccess && is_drawn ? draw() : error;
      }));
    }
    chosen_ms = replay_ms(stream.get(), graphs, kChosen, reset_rows);
    print(is_drawn ? "pass that draws" : "pass that chooses the highest", 1, chosen_ms, total_bytes + head_bytes);
  }
  std::printf("%.0f tokens a second\n", n_rows * 1000.0 / chosen_ms);
  return 0;
}
