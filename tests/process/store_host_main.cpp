// store_host_main FILE STEP...: opens a session store and goes through each thread's script from that thread's STEP on,
// without end; one line on stdout ("THREAD STEP") for each step that the store has acknowledged. "open" comes first.
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "process/store_script.hpp"
#include "store/session_store.hpp"

namespace {

using namespace lair;

// In one piece, whatever other threads say.
void say(const std::string& line) {
  if (::write(1, line.data(), line.size()) != static_cast<ssize_t>(line.size())) ::_exit(4);
}

void fail(const Error& error) {
  std::cerr << error.message << std::endl;
  ::_exit(3);
}

void follow(store::SessionStore& store, int thread, int step) {
  for (;; ++step) {
    const test::StoreStep what = test::store_step(thread, step);
    if (what.value) {
      if (auto done = store.put(what.session, what.key, *what.value); !done) fail(done.error());
    } else if (auto done = store.erase(what.session, what.key); !done) {
      fail(done.error());
    }
    say(std::to_string(thread) + " " + std::to_string(step) + "\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 + test::kStoreThreads) return 2;
  auto store = store::open_store(argv[1], {});
  if (!store) fail(store.error());
  say("open\n");
  std::vector<std::thread> threads;
  for (int i = 0; i < test::kStoreThreads; ++i) {
    threads.emplace_back(follow, std::ref(**store), i, std::atoi(argv[2 + i]));
  }
  for (auto& thread : threads) thread.join();
}
