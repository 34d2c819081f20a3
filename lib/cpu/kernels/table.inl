// The table of an instruction set from the kernel shapes.
#pragma once

#include "cpu/kernel_table.hpp"
#include "cpu/kernels/attention.inl"
#include "cpu/kernels/kv_store.inl"
#include "cpu/kernels/matmul.inl"
#include "cpu/kernels/quantize_x86.inl"
#include "cpu/kernels/rows.inl"

namespace inlay::cpu {
namespace {

template <class Isa, class... Formats>
consteval KernelTable make_table(const char* name, FormatList<Formats...> /*formats*/) {
  KernelTable table;
  table.name = name;
  table.reads_panels = true;
  table.matmul = {matmul<Isa, Formats>...};
  table.quantize = quantize;
  table.rms_norm = rms_norm<Isa>;
  table.rope = rope<Isa>;
  table.gated_activation = gated_activation<Isa>;
  table.add = add<Isa>;
  table.store_half = store_half<Isa>;
  table.store_kv = store_kv<Isa>;
  table.attend = attend<Isa>;
  table.merge_attention = merge_attention<Isa>;
  table.finish_attention = finish_attention<Isa>;
  return table;
}

}  // namespace
}  // namespace inlay::cpu
