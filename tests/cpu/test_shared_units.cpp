#include <doctest/doctest.h>

#include <atomic>
#include <vector>

#include "cpu/shared_units.hpp"

namespace {

using inlay::cpu::ShareCursor;
using inlay::cpu::SharedUnits;
using inlay::cpu::ThreadPool;

TEST_CASE("every unit is taken exactly once, however many threads take them") {
  int checked = 0;
  for (const int n_parts : {1, 2, 3, 7}) {
    ThreadPool pool(n_parts);
    std::vector<ShareCursor> cursors(static_cast<std::size_t>(n_parts));
    for (const int n_units : {0, 1, 2, 5, 64, 1000}) {
      const SharedUnits units(cursors, n_units);
      std::vector<std::atomic<int>> taken(static_cast<std::size_t>(n_units));
      pool.run([&](int part) {
        for (int unit = units.take(part); unit >= 0; unit = units.take(part)) {
          taken[static_cast<std::size_t>(unit)].fetch_add(1);
        }
      });
      int wrong = 0;
      for (const std::atomic<int>& times : taken) wrong += times == 1 ? 0 : 1;
      CHECK(wrong == 0);
      checked += n_units;
    }
  }
  MESSAGE("checked ", checked, " units");
}

TEST_CASE("a part takes its own share first, then what a slow part has left") {
  std::vector<ShareCursor> cursors(2);
  const SharedUnits units(cursors, 10);
  CHECK(units.take(1) == 5);
  CHECK(units.take(0) == 0);
  for (int unit = 6; unit < 10; ++unit) CHECK(units.take(1) == unit);
  for (int unit = 1; unit < 5; ++unit) CHECK(units.take(1) == unit);
  CHECK(units.take(0) == -1);
  CHECK(units.take(1) == -1);
}

}  // namespace
