#include "profile.hpp"

#include <utility>

#include "measure.hpp"

namespace inlay_bench {
namespace {

using inlay::PassProfile;
using inlay::Result;
using inlay::Session;

Result<PassProfile> profile_at(const inlay::Model& model, std::int32_t depth) {
  inlay::SessionOptions options;
  options.context_length = depth + 1;
  auto session = Session::create(model, options);
  if (!session.ok()) return session.status();
  const auto filled = session->prefill(random_text(options.context_length, model.info().vocab_size));
  if (!filled.ok()) return filled.status();
  return session->profile();
}

}  // namespace

Result<std::vector<DepthProfile>> profile_all(const inlay::Model& model, const Options& options) {
  std::vector<DepthProfile> profiles;
  for (const std::int32_t depth : options.depths) {
    auto pass = profile_at(model, depth);
    if (pass.code() == inlay::StatusCode::kUnsupported && options.device == inlay::DeviceKind::kCpu) {
      return inlay::Status(pass.code(), pass.status().message() + " (--device cuda)");
    }
    if (!pass.ok()) return pass.status();
    profiles.push_back({depth, *std::move(pass)});
  }
  return profiles;
}

}  // namespace inlay_bench
