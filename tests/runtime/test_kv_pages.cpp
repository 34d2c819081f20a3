#include <doctest/doctest.h>

#include <random>
#include <set>
#include <vector>

#include "runtime/kv_pages.hpp"

namespace {

using inlay::KvPages;
using inlay::PageId;

TEST_CASE("a number of positions needs whole pages") {
  CHECK(inlay::pages_for(0) == 0);
  CHECK(inlay::pages_for(1) == 1);
  CHECK(inlay::pages_for(64) == 1);
  CHECK(inlay::pages_for(65) == 2);
}

TEST_CASE("pages are taken, shared and released by their users") {
  KvPages pages;
  CHECK(pages.needed_for(3) == 3);
  pages.commit(3);
  CHECK(pages.capacity() == 3);
  const PageId page = pages.take();
  CHECK(page == 0);
  CHECK(pages.in_use() == 1);
  pages.share(page);
  CHECK(pages.is_shared(page));
  CHECK_FALSE(pages.release(page));
  CHECK_FALSE(pages.is_shared(page));
  CHECK(pages.release(page));
  CHECK(pages.in_use() == 0);
}

TEST_CASE("a promise taken back makes room for another session without growing") {
  KvPages pages;
  pages.commit(4);
  pages.withdraw(4);
  CHECK(pages.needed_for(4) == 4);
  pages.commit(2);
  CHECK(pages.capacity() == 4);
}

TEST_CASE("random takes and releases never hand out a page twice") {
  std::mt19937 random(7);
  KvPages pages;
  std::set<PageId> held;
  int capacity = 0;
  int operations = 0;
  for (int round = 0; round < 200; ++round) {
    const int more = static_cast<int>(random() % 4);
    pages.commit(more);
    capacity += more;
    for (int i = 0; i < 20; ++i, ++operations) {
      if (static_cast<int>(held.size()) < capacity && random() % 2 == 0) {
        REQUIRE(held.insert(pages.take()).second);
      } else if (!held.empty()) {
        REQUIRE(pages.release(*held.begin()));
        held.erase(held.begin());
      }
      REQUIRE(pages.in_use() == static_cast<int>(held.size()));
    }
  }
  MESSAGE("checked " << operations << " operations on up to " << capacity << " pages");
}

}  // namespace
