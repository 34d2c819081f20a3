#include "torture/failing_calls.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>

#if !defined(INLAY_TEST_SANITIZED)
#include <dlfcn.h>
#include <pthread.h>
#endif

namespace {

std::atomic<std::int64_t> live = 0;
std::atomic<bool> armed = false;
std::atomic<bool> fails_from_on = false;
std::atomic<std::int64_t> calls_left = 0;  // until the one that fails

bool fails() {
  if (!armed.load(std::memory_order_relaxed)) return false;
  const std::int64_t left = calls_left.fetch_sub(1) - 1;
  return left == 0 || (left < 0 && fails_from_on.load());
}

/// The C library's: what the program's own malloc below does not count twice.
#if defined(INLAY_TEST_SANITIZED)
void* plain_malloc(std::size_t size) { return std::malloc(size); }
#else
extern "C" void* __libc_malloc(std::size_t size);  // NOLINT(bugprone-reserved-identifier)
void* plain_malloc(std::size_t size) { return __libc_malloc(size); }
#endif

void* allocate(std::size_t size, std::size_t alignment) {
  if (fails()) throw std::bad_alloc();
  const std::size_t rounded = size == 0 ? alignment : (size + alignment - 1) / alignment * alignment;
  void* memory =
      alignment <= alignof(std::max_align_t) ? plain_malloc(rounded) : std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  live.fetch_add(1, std::memory_order_relaxed);
  return memory;
}

void release(void* memory) {
  if (memory != nullptr) live.fetch_sub(1, std::memory_order_relaxed);
  std::free(memory);
}

int refuse(int error) {
  errno = error;
  return -1;
}

}  // namespace

namespace inlay::test {

FailNth::FailNth(std::int64_t n, FailureMode mode) {
  calls_left.store(n);
  fails_from_on.store(mode == FailureMode::kFromOn);
  armed.store(true);
}
FailNth::~FailNth() { armed.store(false); }
bool FailNth::happened() { return calls_left.load() <= 0; }
std::int64_t live_allocations() { return live.load(); }

}  // namespace inlay::test

// All forms: those of the standard library would call these, those of a sanitizer would not.
void* operator new(std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new[](std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
  try {
    return allocate(size, alignof(std::max_align_t));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept { return operator new(size, tag); }
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t /*size*/) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept { release(memory); }
void operator delete[](void* memory, std::align_val_t /*alignment*/) noexcept { release(memory); }
void operator delete(void* memory, std::size_t /*size*/, std::align_val_t /*alignment*/) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t /*size*/, std::align_val_t /*alignment*/) noexcept { release(memory); }
void operator delete(void* memory, const std::nothrow_t& /*tag*/) noexcept { release(memory); }
void operator delete[](void* memory, const std::nothrow_t& /*tag*/) noexcept { release(memory); }

#if !defined(INLAY_TEST_SANITIZED)
// What C libraries take: the program's symbol comes before the C library's.
extern "C" void* malloc(std::size_t size) {
  if (fails()) {
    errno = ENOMEM;
    return nullptr;
  }
  return __libc_malloc(size);
}

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* data) {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto next = reinterpret_cast<Create>(::dlsym(RTLD_NEXT, "pthread_create"));
  return fails() ? EAGAIN : next(thread, attributes, body, data);
}
#endif

// The linker leads the library's calls here (--wrap in tests/CMakeLists.txt). NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {

int __real_open(const char* path, int flags, ...);
int __real_fstat(int descriptor, struct stat* info);
void* __real_mmap(void* address, std::size_t size, int protection, int flags, int descriptor, off_t offset);
ssize_t __real_write(int descriptor, const void* bytes, std::size_t size);
int __real_fsync(int descriptor);
int __real_rename(const char* from, const char* to);

int __wrap_open(const char* path, int flags, ...) {
  std::va_list arguments;
  va_start(arguments, flags);
  const unsigned mode = (flags & O_CREAT) != 0 ? va_arg(arguments, unsigned) : 0;
  va_end(arguments);
  return fails() ? refuse(EMFILE) : __real_open(path, flags, mode);
}
int __wrap_fstat(int descriptor, struct stat* info) { return fails() ? refuse(EIO) : __real_fstat(descriptor, info); }
void* __wrap_mmap(void* address, std::size_t size, int protection, int flags, int descriptor, off_t offset) {
  if (!fails()) return __real_mmap(address, size, protection, flags, descriptor, offset);
  errno = ENOMEM;
  return MAP_FAILED;
}
ssize_t __wrap_write(int descriptor, const void* bytes, std::size_t size) {
  return fails() ? refuse(ENOSPC) : __real_write(descriptor, bytes, size);
}
int __wrap_fsync(int descriptor) { return fails() ? refuse(EIO) : __real_fsync(descriptor); }
int __wrap_rename(const char* from, const char* to) { return fails() ? refuse(EIO) : __real_rename(from, to); }

}  // extern "C". NOLINTEND(bugprone-reserved-identifier)
