// One sequence of tokens and its KV cache.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <inlay/export.hpp>
#include <inlay/model.hpp>
#include <inlay/profile.hpp>
#include <inlay/result.hpp>
#include <inlay/sampling.hpp>
#include <inlay/types.hpp>

namespace inlay {

/// How long a sequence may get, and how its tokens are chosen.
struct SessionOptions {
  std::int32_t context_length = 0;  ///< most tokens the session can hold; 0: what the model was trained for
  SamplingOptions sampling{};       ///< greedy by default
};

/// Why a generation has ended.
enum class FinishReason : std::int32_t {
  kEndOfGeneration = 0,  ///< the model produced an end token (not part of the text)
  kMaxTokens = 1,        ///< as many as GenerateOptions::max_tokens are there
  kContextFull = 2,      ///< the session holds as many tokens as it can
  kStopped = 3,          ///< the callback asked to stop
  kCancelled = 4,        ///< Session::cancel
};

/// Receives generated text as it becomes complete UTF-8. `text` may be empty while a character is unfinished, and holds
/// the rest of the text with `token` -1 at the end if there is any. Valid during the call only.
using TokenCallback = std::function<Flow(TokenId token, std::string_view text)>;

/// When a generation ends, and who watches it.
struct GenerateOptions {
  std::int32_t max_tokens = 256;  ///< most tokens to generate
  TokenCallback on_token{};       ///< may be empty
};

/// What a generation produced.
struct Generation {
  std::vector<TokenId> tokens;                            ///< without the end token
  std::string text;                                       ///< in UTF-8
  FinishReason finish_reason = FinishReason::kMaxTokens;  ///< why it ended
};

/// One sequence. Movable, not copyable (`fork` copies). A session is used by one thread at a time, except `cancel`;
/// different sessions of one model may be used from different threads. Destroying the session frees its KV pages.
class INLAY_API Session {
 public:
  /// kInvalidArgument for absurd options, kOutOfMemory when the KV cache cannot be reserved.
  [[nodiscard]] static Result<Session> create(const Model& model, const SessionOptions& options = {}) noexcept;

  /// What was moved from may only be assigned to or destroyed.
  Session(Session&&) noexcept;
  /// As the constructor.
  Session& operator=(Session&&) noexcept;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();

  /// Appends tokens and evaluates them. On failure the session is as before. kContextFull, kInvalidArgument (no token,
  /// or an id outside the vocabulary), kCancelled. Two or more tokens have the same results bit for bit however they
  /// are cut into calls of at least two and into passes; a token alone is evaluated as one of `step` is, which on a CPU
  /// with AMX is another rounding.
  [[nodiscard]] Result<void> prefill(std::span<const TokenId> tokens) noexcept;

  /// Chooses the next token from the current logits and appends it. It is evaluated when its logits are first needed,
  /// so the last token of a generation costs nothing. kInvalidArgument before the first prefill; kContextFull;
  /// kCancelled.
  [[nodiscard]] Result<TokenId> step() noexcept;

  /// The logits after the last token, [vocab_size]. Valid until the next call on this session.
  [[nodiscard]] Result<std::span<const float>> logits() noexcept;

  /// Steps until an end token, a limit or the callback ends it. Running into the context's end is a FinishReason here.
  [[nodiscard]] Result<Generation> generate(const GenerateOptions& options) noexcept;

  /// A second session with the same tokens. Shares the KV pages until one of the two writes. The fork's sampler
  /// continues from the same state.
  [[nodiscard]] Result<Session> fork() const noexcept;

  /// Drops all tokens from position `length` on, 0 <= length <= size(). Logits are computed again when they are needed.
  [[nodiscard]] Result<void> rewind(std::int32_t length) noexcept;

  /// The session as bytes for `restore`: its tokens, keys and values, sampling options and random stream. The bytes
  /// depend on what was evaluated alone, so equal sessions give equal bytes. kOutOfMemory, kDeviceError.
  [[nodiscard]] Result<std::vector<std::byte>> save() const noexcept;

  /// Makes this session the one that was saved, whatever it held before; its context length stays. The bytes may come
  /// from another process, and from a session of the same file on the same kind of device with the same KV format. The
  /// last tokens, at most 64, are evaluated again when their logits are needed; what follows is as if the session had
  /// never been saved. On failure the session is as before: kInvalidState (damaged, or of another model, KV format or
  /// kind of device), kContextFull, kOutOfMemory; but it is empty after a kDeviceError.
  [[nodiscard]] Result<void> restore(std::span<const std::byte> state) noexcept;

  /// Where the time of a forward pass goes: evaluates the last token again, some tens of times, behind the tokens ahead
  /// of it. The session keeps its tokens, sampling options and random stream; its logits are computed again when they
  /// are needed, as after `rewind`. Other sessions of the model wait meanwhile. The result belongs to the caller.
  /// kInvalidArgument before the first prefill, kUnsupported on a device that does not time its steps (the CPU),
  /// kCancelled, kOutOfMemory, kDeviceError.
  [[nodiscard]] Result<PassProfile> profile() noexcept;

  /// Replaces the sampling options and restarts the random stream from their seed.
  [[nodiscard]] Result<void> set_sampling(const SamplingOptions& options) noexcept;

  /// All tokens so far.
  [[nodiscard]] std::span<const TokenId> tokens() const noexcept;
  [[nodiscard]] std::int32_t size() const noexcept;            ///< their number
  [[nodiscard]] std::int32_t context_length() const noexcept;  ///< the most tokens that the session can hold
  [[nodiscard]] Model model() const noexcept;                  ///< another handle of its model

  /// Ends the call that runs on this session, or the next one, with kCancelled. From any thread. A running call ends
  /// after at most one step of one layer (such as its feed-forward matrices) over `ModelOptions::batch_rows` rows on
  /// the CPU, and one forward pass of so many rows on a GPU.
  void cancel() noexcept;

  class INLAY_LOCAL Impl;
  explicit Session(std::unique_ptr<Impl> impl) noexcept;             ///< made by create and fork
  [[nodiscard]] Impl* impl() const noexcept { return impl_.get(); }  ///< for the library itself

 private:
  std::unique_ptr<Impl> impl_;
};

/// Rows of several sessions of one model, evaluated together in one forward pass per chunk. Every session gets bitwise
/// the logits that it would get alone (CPU). Not thread-safe; the sessions must outlive `run` and must not be used
/// elsewhere meanwhile.
class INLAY_API Batch {
 public:
  /// Queues tokens to append to `session`; they are copied. A session may be queued once a run. kOutOfMemory.
  [[nodiscard]] Result<void> prefill(Session& session, std::span<const TokenId> tokens) noexcept;
  /// Queues one sampled token for `session`. kOutOfMemory.
  [[nodiscard]] Result<void> step(Session& session) noexcept;

  /// Evaluates everything queued and empties the queue. For entry i, in queueing order, the result holds the sampled
  /// token, or -1 for a prefill entry. On failure every session is as before.
  [[nodiscard]] Result<std::vector<TokenId>> run() noexcept;

 private:
  enum class EntryKind : std::int32_t { kPrefill, kStep };
  struct Entry {
    Session* session = nullptr;
    EntryKind kind = EntryKind::kStep;
    std::vector<TokenId> tokens;  // of a prefill
  };
  std::vector<Entry> entries_;
};

}  // namespace inlay
