#include "runtime/session_state.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <type_traits>

#include "base/try.hpp"
#include "runtime/fingerprint.hpp"
#include "runtime/kv_pages.hpp"
#include "runtime/sampler.hpp"

namespace inlay {
namespace {

constexpr char kMagic[8] = {'i', 'n', 'l', 'a', 'y', 'S', 'E', 'S'};
constexpr std::uint32_t kVersion = 1;

struct StateHeader {
  char magic[8];
  std::uint32_t version;
  std::uint32_t kv_format;
  std::uint32_t layout;
  std::uint32_t page_bytes;
  std::uint64_t fingerprint;
  std::uint32_t n_tokens;
  std::uint32_t n_pages;
  float temperature;
  std::int32_t top_k;
  float top_p;
  float min_p;
  float repetition_penalty;
  float frequency_penalty;
  float presence_penalty;
  std::int32_t penalty_window;
  std::uint64_t seed;
  std::uint64_t random;
};
static_assert(sizeof(StateHeader) == 88 && std::is_trivially_copyable_v<StateHeader>);
static_assert(std::endian::native == std::endian::little, "the bytes of a state are little-endian");

constexpr std::size_t kTokenBytes = sizeof(TokenId) + sizeof(RowKind);
constexpr std::size_t kChecksumBytes = sizeof(std::uint64_t);

Status invalid(const std::string& reason) { return {StatusCode::kInvalidState, "saved session: " + reason}; }

std::string expected_found(std::uint64_t expected, std::uint64_t found) {
  return "expected " + std::to_string(expected) + ", found " + std::to_string(found);
}

std::uint64_t checksum_of(std::span<const std::byte> bytes) {
  return hash_bytes(bytes.first(bytes.size() - kChecksumBytes));
}

Result<void> check_number(const char* what, std::uint64_t expected, std::uint64_t found) {
  if (expected == found) return {};
  return invalid(std::string(what) + ": " + expected_found(expected, found));
}

/// That the session fits the model, and that the bytes are as many as the header says.
Result<void> check_header(const StateHeader& header, std::size_t n_bytes, const StateOwner& owner) {
  INLAY_TRY(check_number("version", kVersion, header.version));
  if (header.fingerprint != owner.fingerprint) return invalid("it belongs to another model file");
  INLAY_TRY(check_number("KV format", static_cast<std::uint64_t>(owner.kv_format), header.kv_format));
  INLAY_TRY(check_number("kind of device", static_cast<std::uint64_t>(owner.layout), header.layout));
  INLAY_TRY(check_number("bytes of a page", owner.page_bytes, header.page_bytes));
  // Numbers of 32 bits: no product of two wraps around.
  const std::uint64_t tokens = std::uint64_t{header.n_tokens} * kTokenBytes;
  const std::uint64_t pages = std::uint64_t{header.n_pages} * header.page_bytes;
  INLAY_TRY(check_number("bytes", sizeof header + kChecksumBytes + tokens + pages, n_bytes));
  if (std::uint64_t{header.n_pages} * kKvPagePositions <= header.n_tokens) return {};
  return invalid(std::to_string(header.n_pages) + " pages are more than " + std::to_string(header.n_tokens) +
                 " tokens fill");
}

SamplingOptions sampling_of(const StateHeader& header) {
  SamplingOptions options;
  options.temperature = header.temperature;
  options.top_k = header.top_k;
  options.top_p = header.top_p;
  options.min_p = header.min_p;
  options.repetition_penalty = header.repetition_penalty;
  options.frequency_penalty = header.frequency_penalty;
  options.presence_penalty = header.presence_penalty;
  options.penalty_window = header.penalty_window;
  options.seed = header.seed;
  return options;
}

Result<void> read_tokens(std::span<const std::byte> bytes, int vocab_size, SessionState& state) {
  const std::size_t n = bytes.size() / kTokenBytes;
  state.tokens.resize(n);
  state.kinds.resize(n);
  if (n == 0) return {};
  std::memcpy(state.tokens.data(), bytes.data(), n * sizeof(TokenId));
  for (std::size_t i = 0; i < n; ++i) {
    const auto kind = std::to_integer<unsigned>(bytes[n * sizeof(TokenId) + i]);
    if (kind > static_cast<unsigned>(RowKind::kBulk)) return invalid("kind of token " + std::to_string(i));
    state.kinds[i] = static_cast<RowKind>(kind);
    if (state.tokens[i] < 0 || state.tokens[i] >= vocab_size) {
      return invalid("token id " + std::to_string(state.tokens[i]) + " is outside the vocabulary of " +
                     std::to_string(vocab_size));
    }
  }
  return {};
}

}  // namespace

std::vector<std::byte> begin_state(const StateOwner& owner, const SessionState& state) {
  StateHeader header = {};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kVersion;
  header.kv_format = static_cast<std::uint32_t>(owner.kv_format);
  header.layout = static_cast<std::uint32_t>(owner.layout);
  header.page_bytes = static_cast<std::uint32_t>(owner.page_bytes);
  header.fingerprint = owner.fingerprint;
  header.n_tokens = static_cast<std::uint32_t>(state.tokens.size());
  header.n_pages = static_cast<std::uint32_t>(state.n_pages);
  header.temperature = state.sampling.temperature;
  header.top_k = state.sampling.top_k;
  header.top_p = state.sampling.top_p;
  header.min_p = state.sampling.min_p;
  header.repetition_penalty = state.sampling.repetition_penalty;
  header.frequency_penalty = state.sampling.frequency_penalty;
  header.presence_penalty = state.sampling.presence_penalty;
  header.penalty_window = state.sampling.penalty_window;
  header.seed = state.sampling.seed;
  header.random = state.random;
  const std::size_t pages = static_cast<std::size_t>(state.n_pages) * owner.page_bytes;
  std::vector<std::byte> bytes(sizeof header + state.tokens.size() * kTokenBytes + pages + kChecksumBytes);
  std::memcpy(bytes.data(), &header, sizeof header);
  std::byte* next = bytes.data() + sizeof header;
  next =
      std::copy_n(reinterpret_cast<const std::byte*>(state.tokens.data()), state.tokens.size() * sizeof(TokenId), next);
  std::transform(state.kinds.begin(), state.kinds.end(), next,
                 [](RowKind kind) { return static_cast<std::byte>(kind); });
  return bytes;
}

std::span<std::byte> pages_of(std::vector<std::byte>& bytes, const StateOwner& owner, int n_pages) {
  const std::size_t size = static_cast<std::size_t>(n_pages) * owner.page_bytes;
  return std::span(bytes).subspan(bytes.size() - kChecksumBytes - size, size);
}

void seal_state(std::vector<std::byte>& bytes) {
  const std::uint64_t checksum = checksum_of(bytes);
  std::memcpy(bytes.data() + bytes.size() - kChecksumBytes, &checksum, kChecksumBytes);
}

Result<SessionState> parse_state(std::span<const std::byte> bytes, const StateOwner& owner) {
  StateHeader header;
  if (bytes.size() < sizeof header + kChecksumBytes)
    return invalid("it has only " + std::to_string(bytes.size()) + " bytes");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return invalid("its first bytes are not \"inlaySES\"");
  INLAY_TRY(check_header(header, bytes.size(), owner));
  std::uint64_t checksum = 0;
  std::memcpy(&checksum, bytes.data() + bytes.size() - kChecksumBytes, kChecksumBytes);
  if (checksum != checksum_of(bytes)) return invalid("its checksum is wrong: the bytes have been changed");
  SessionState state;
  state.sampling = sampling_of(header);
  const auto sampling = check_sampling(state.sampling);
  if (!sampling.ok()) return invalid(sampling.status().message());
  state.random = header.random;
  const std::size_t tokens = std::size_t{header.n_tokens} * kTokenBytes;
  INLAY_TRY(read_tokens(bytes.subspan(sizeof header, tokens), owner.vocab_size, state));
  state.n_pages = static_cast<int>(header.n_pages);
  state.pages = bytes.subspan(sizeof header + tokens, std::size_t{header.n_pages} * header.page_bytes);
  return state;
}

}  // namespace inlay
