// Chooses the kernel table for the CPU that the process runs on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <inlay/result.hpp>

#include "cpu/kernel_table.hpp"

namespace inlay::cpu {

/// The tables that this CPU and operating system can run, the fastest first. Never empty.
std::vector<const KernelTable*> usable_kernels();

/// The table of that name, or the fastest for "". kInvalidArgument for a name that does not exist (the message lists
/// the names), kUnsupported for one that this CPU cannot run.
Result<const KernelTable*> choose_kernels(std::string_view name);

/// The CPU's marketing name, or "CPU".
std::string cpu_name();

}  // namespace inlay::cpu
