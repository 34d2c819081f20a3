#include "measure.hpp"

#include <algorithm>
#include <chrono>
#include <random>
#include <span>

namespace inlay_bench {
namespace {

using Clock = std::chrono::steady_clock;
using inlay::Result;
using inlay::Session;
using inlay::Status;
using inlay::TokenId;

constexpr std::int32_t kWarmUpSteps = 8;

/// Several sessions of the same depth that go forward together and back again.
///
/// At rest a session holds depth + 1 tokens, the last of which is not evaluated: rewinding leaves it so, and the first
/// forward pass of a measurement evaluates it. So nothing is computed twice, and the KV pages stay in place.
class Sequences {
 public:
  static Result<Sequences> create(const inlay::Model& model, std::int32_t count, std::int32_t depth,
                                  std::int32_t most_tokens) {
    Sequences sequences(depth);
    inlay::SessionOptions options;
    options.context_length = depth + most_tokens + 1;
    sequences.text_ = random_text(options.context_length, model.info().vocab_size);
    for (std::int32_t i = 0; i < count; ++i) {
      auto session = Session::create(model, options);
      if (!session.ok()) return session.status();
      sequences.sessions_.push_back(*std::move(session));
    }
    if (auto filled = sequences.append({sequences.text_.data(), sequences.resting_size()}); !filled.ok()) {
      return filled.status();
    }
    if (auto stepped = sequences.decode(1); !stepped.ok()) return stepped.status();
    if (auto rested = sequences.rest(); !rested.ok()) return rested.status();
    return sequences;
  }

  /// Evaluates `count` tokens of each sequence in one batch, and the logits after the last one.
  Result<void> prefill(std::int32_t count) {
    if (count == 1) return decode(1);  // the token that waits
    return append({text_.data() + resting_size(), static_cast<std::size_t>(count) - 1});
  }

  /// Evaluates one token of each sequence and samples the next, `count` times.
  Result<void> decode(std::int32_t count) {
    for (std::int32_t i = 0; i < count; ++i) {
      for (Session& session : sessions_) {
        if (auto queued = batch_.step(session); !queued.ok()) return queued;
      }
      if (auto done = batch_.run(); !done.ok()) return done.status();
    }
    return {};
  }

  /// Back to where a measurement starts.
  Result<void> rest() {
    for (Session& session : sessions_) {
      if (auto done = session.rewind(static_cast<std::int32_t>(resting_size())); !done.ok()) return done;
    }
    return {};
  }

 private:
  explicit Sequences(std::int32_t depth) : depth_(depth) {}

  [[nodiscard]] std::size_t resting_size() const { return static_cast<std::size_t>(depth_) + 1; }

  Result<void> append(std::span<const TokenId> tokens) {
    for (Session& session : sessions_) {
      if (auto queued = batch_.prefill(session, tokens); !queued.ok()) return queued;
    }
    auto done = batch_.run();
    return done.ok() ? Result<void>() : done.status();
  }

  std::int32_t depth_;
  std::vector<TokenId> text_;  // [context length]
  std::vector<Session> sessions_;
  inlay::Batch batch_;
};

Result<double> time_once(Sequences& sequences, Phase phase, std::int32_t tokens) {
  const auto start = Clock::now();
  const auto done = phase == Phase::kPrefill ? sequences.prefill(tokens) : sequences.decode(tokens);
  const std::chrono::duration<double> time = Clock::now() - start;
  if (!done.ok()) return done.status();
  if (auto rested = sequences.rest(); !rested.ok()) return rested.status();
  return time.count();
}

/// Fills in measurement.seconds.
Result<void> repeat(Sequences& sequences, Measurement& measurement, std::int32_t repetitions,
                    const Listener& listener) {
  const bool prefills = measurement.phase == Phase::kPrefill;
  const std::int32_t warm_up_tokens = prefills ? measurement.tokens : std::min(measurement.tokens, kWarmUpSteps);
  listener(measurement, 0);
  if (auto warm = time_once(sequences, measurement.phase, warm_up_tokens); !warm.ok()) return warm.status();
  for (std::int32_t i = 0; i < repetitions; ++i) {
    listener(measurement, i + 1);
    auto seconds = time_once(sequences, measurement.phase, measurement.tokens);
    if (!seconds.ok()) return seconds.status();
    measurement.seconds.push_back(*seconds);
  }
  return {};
}

/// The phases and lengths that the options ask for.
std::vector<Measurement> wanted(const Options& options) {
  std::vector<Measurement> list;
  for (const std::int32_t n : options.prefill_tokens) list.push_back({Phase::kPrefill, n, 0, 1, 1, {}});
  for (const std::int32_t n : options.decode_tokens) list.push_back({Phase::kDecode, n, 0, 1, 1, {}});
  std::erase_if(list, [](const Measurement& measurement) { return measurement.tokens == 0; });
  return list;
}

}  // namespace

std::vector<TokenId> random_text(std::int32_t length, std::int32_t vocab_size) {
  std::minstd_rand random;
  std::vector<TokenId> text;
  text.reserve(static_cast<std::size_t>(length));
  for (std::int32_t i = 0; i < length; ++i) {
    text.push_back(static_cast<TokenId>(random() % static_cast<std::uint32_t>(vocab_size)));
  }
  return text;
}

Result<std::vector<Measurement>> measure_all(const inlay::Model& model, const Options& options,
                                             const Listener& listener) {
  std::vector<Measurement> done;
  const std::vector<Measurement> list = wanted(options);
  if (list.empty()) return done;
  const auto fewer = [](const Measurement& a, const Measurement& b) { return a.tokens < b.tokens; };
  const std::int32_t most_tokens = std::max_element(list.begin(), list.end(), fewer)->tokens;
  for (const std::int32_t count : options.sequences) {
    for (const std::int32_t depth : options.depths) {
      auto sequences = Sequences::create(model, count, depth, most_tokens);
      if (!sequences.ok()) return sequences.status();
      for (Measurement measurement : list) {
        measurement.depth = depth;
        measurement.sequences = count;
        measurement.threads = model.threads();
        if (auto measured = repeat(*sequences, measurement, options.repetitions, listener); !measured.ok()) {
          return measured.status();
        }
        done.push_back(std::move(measurement));
      }
    }
  }
  return done;
}

}  // namespace inlay_bench
