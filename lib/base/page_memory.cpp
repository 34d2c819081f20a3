#include "base/page_memory.hpp"

#include <sys/mman.h>

#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "base/aligned_buffer.hpp"
#include "base/system.hpp"

namespace inlay {
namespace {

Status out_of_memory(std::string_view what, std::uint64_t bytes) {
  return {StatusCode::kOutOfMemory, std::string(what) + ": " + std::to_string(bytes) + " bytes cannot be had"};
}

}  // namespace

Result<PageMemory> PageMemory::take(std::uint64_t bytes, std::string_view what, PageSize pages,
                                    const HostAllocator* allocator) {
  if (bytes == 0) return PageMemory();
  const std::uint64_t machine = physical_memory_bytes();
  if ((machine != 0 && bytes > machine) || bytes > std::numeric_limits<std::size_t>::max()) {
    return out_of_memory(what, bytes);
  }
  const auto size = static_cast<std::size_t>(bytes);
  if (allocator != nullptr && allocator->allocate) {
    void* data = allocator->allocate(size, kBufferAlignment);
    if (data == nullptr) return out_of_memory(what, bytes);
    std::memset(data, 0, size);
    return PageMemory(static_cast<std::byte*>(data), size, allocator);
  }
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return out_of_memory(what, bytes);
  if (pages == PageSize::kHuge) ::madvise(data, size, MADV_HUGEPAGE);  // a refusal costs speed only
  return PageMemory(static_cast<std::byte*>(data), size, nullptr);
}

PageMemory::PageMemory(PageMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      allocator_(std::exchange(other.allocator_, nullptr)) {}

PageMemory& PageMemory::operator=(PageMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(allocator_, other.allocator_);
  return *this;
}

PageMemory::~PageMemory() {
  if (data_ == nullptr) return;
  if (allocator_ != nullptr) {
    allocator_->release(data_, size_, kBufferAlignment);
  } else {
    ::munmap(data_, size_);
  }
}

}  // namespace inlay
