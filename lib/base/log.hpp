// Says something to the host, if it listens.
#pragma once

#include <string_view>

#include <inlay/types.hpp>

namespace inlay {

/// Forwards to the host's callback; without one, nothing happens.
class Logger {
 public:
  Logger() = default;
  explicit Logger(LogCallback callback) : callback_(std::move(callback)) {}
  void operator()(LogLevel level, std::string_view message) const {
    if (callback_) callback_(level, message);
  }

 private:
  LogCallback callback_;
};

}  // namespace inlay
