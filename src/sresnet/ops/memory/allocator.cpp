// Memory of large tensors on a CPU: what is freed is kept for the next tensor of about that size.
//
// malloc gives large blocks back to the system at once, and fresh pages cost a page fault each; told to keep them
// (mallopt), it carves small tensors out of large blocks, which then fit nothing, and a training step comes to take
// several times what lies in it. Here blocks are never divided. Those that wait to be used again are kept as long as
// all blocks together are hardly more than tensors alone have taken at their height.

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <list>
#include <map>
#include <mutex>
#include <unordered_map>

namespace {

constexpr size_t SMALL = 1 << 17;   // less than this is malloc's, as by default
constexpr size_t PAGE = 1 << 14;    // sizes are multiples of it
constexpr size_t HUGE_PAGE = 2 << 20;

size_t rounded(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

// Fresh pages, in huge ones where the system has them; null where it has none left.
void* map(size_t size) {
  const size_t more = size >= HUGE_PAGE ? HUGE_PAGE : 0;
  char* raw = (char*)mmap(nullptr, size + more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  if (!more) return raw;
  char* aligned = (char*)rounded((size_t)raw, HUGE_PAGE);
  if (aligned > raw) munmap(raw, aligned - raw);
  if (raw + more > aligned) munmap(aligned + size, raw + more - aligned);
  madvise(aligned, size, MADV_HUGEPAGE);
  return aligned;
}

class Keeping : public c10::Allocator {
 public:
  explicit Keeping(c10::Allocator* small) : small(small) {}

  c10::DataPtr allocate(size_t wanted) override {
    void* block = wanted < SMALL ? nullptr : take(rounded(wanted, PAGE));
    if (!block) return small->allocate(wanted);  // or there is no memory, which it says as torch does
    return {block, block, &give_back, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, size_t size) const override { default_copy_data(to, from, size); }

  std::mutex mutex;

 private:
  struct Block { void* start; size_t size; };

  void* take(size_t size) {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto fitting = by_size.lower_bound(size);
    void* start = nullptr;
    if (fitting != by_size.end() && fitting->first <= size + size / 8) {
      size = fitting->first;
      start = fitting->second->start;
      kept -= size;
      oldest_first.erase(fitting->second);
      by_size.erase(fitting);
    } else {
      const size_t height = std::max(most, used + size);
      while (!oldest_first.empty() && used + kept + size > height + height / 16) release();
      start = map(size);
      while (!start && !oldest_first.empty()) {
        release();
        start = map(size);
      }
      if (!start) return nullptr;
    }
    used += size;
    most = std::max(most, used);
    sizes[start] = size;
    return start;
  }

  void release() {  // the block that has waited longest
    const Block block = oldest_first.front();
    auto place = by_size.find(block.size);
    while (place->second->start != block.start) ++place;
    by_size.erase(place);
    oldest_first.pop_front();
    kept -= block.size;
    munmap(block.start, block.size);
  }

  static void give_back(void* start);

  c10::Allocator* small;
  std::unordered_map<void*, size_t> sizes;           // of what tensors use
  std::list<Block> oldest_first;                     // of what waits
  std::multimap<size_t, std::list<Block>::iterator> by_size;
  size_t used = 0, kept = 0, most = 0;               // most: of `used`, ever
};

Keeping* keeping = nullptr;  // never deleted: tensors outlive everything

void Keeping::give_back(void* start) {
  {
    const std::lock_guard<std::mutex> lock(keeping->mutex);
    const auto place = keeping->sizes.find(start);
    if (place != keeping->sizes.end()) {
      const Block block{start, place->second};
      keeping->sizes.erase(place);
      keeping->used -= block.size;
      keeping->kept += block.size;
      keeping->oldest_first.push_back(block);
      keeping->by_size.emplace(block.size, std::prev(keeping->oldest_first.end()));
      return;
    }
  }
  keeping->small->raw_deleter()(start);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void keep_freed_tensors() {
  if (keeping) return;
  keeping = new Keeping(c10::GetCPUAllocator());
  // A process that is forked must not find the lock held by a thread that it does not have.
  pthread_atfork([] { keeping->mutex.lock(); }, [] { keeping->mutex.unlock(); }, [] { keeping->mutex.unlock(); });
  c10::SetCPUAllocator(keeping, 255);
}
