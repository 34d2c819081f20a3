// What a Model handle points to: the file, the plan, and the one executor that all sessions of the model share.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include <inlay/model.hpp>
#include <inlay/session.hpp>

#include "base/log.hpp"
#include "gguf/gguf.hpp"
#include "model/plan.hpp"
#include "runtime/backend.hpp"
#include "runtime/kv_pages.hpp"
#include "runtime/model_bytes.hpp"
#include "runtime/scheduler.hpp"
#include "runtime/stepper.hpp"

namespace inlay {

class Model::Impl {
 public:
  static Result<std::shared_ptr<Impl>> open(const ModelSource& source, const ModelOptions& options);

  // Immutable after open. Declared in the order of their dependence: the plan points into the file.
  HostAllocator allocator;
  ModelBytes file;
  gguf::File gguf;
  Plan plan;
  std::uint64_t file_fingerprint = 0;
  std::shared_ptr<const Tokenizer::Impl> tokenizer;
  ModelInfo info;
  DeviceInfo device;
  ExecutorOptions executor_options;
  Logger log;

  std::mutex mutex;  // guards what follows: forward passes and page bookkeeping of all sessions
  std::unique_ptr<Executor> executor;
  KvPages pages;
  Scheduler scheduler;
  Stepper stepper;

  explicit Impl(HostAllocator hosts) : allocator(std::move(hosts)) {}
};

}  // namespace inlay
