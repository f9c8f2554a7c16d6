// Python in the program itself, as a peer: one interpreter, embedded with pybind11, called from any number of threads under
// its one GIL. No processes: a call costs no system call, and a crash or a stuck call is the whole program's.
//
//   lair-embedded FOLDER      with the functions in FOLDER/measuring.py
//
// Answers each line "SIZE CALLERS CALLS WORK" on stdin with "calls/s p50-in-µs", whatever SIZE is. Built by build_embedded.sh, not by CMake: only
// `./dev bench` needs pybind11.
#include <pybind11/embed.h>
#include <pybind11/stl.h>

#include <cmath>
#include <csignal>
#include <iostream>
#include <string>
#include <vector>

#include "../measured.hpp"

namespace {

namespace py = pybind11;

constexpr std::size_t kTimesAsMany = 100;

// Python's state for this thread, kept as long as the thread: made anew for each call, it would cost more than the call.
struct Attached {
  py::gil_scoped_acquire acquired;
  py::gil_scoped_release released;
};

std::vector<double> ten_thousand() {
  std::vector<double> floats(10'000);
  for (std::size_t i = 0; i < floats.size(); ++i) floats[i] = std::sqrt(static_cast<double>(i));
  return floats;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::signal(SIGINT, SIG_IGN);  // ends with stdin
  const py::scoped_interpreter interpreter(false);
  py::module_::import("sys").attr("path").attr("insert")(0, argv[1]);
  const py::module_ functions = py::module_::import("measuring");
  const py::object empty = functions.attr("empty");
  const py::object same = functions.attr("same");
  const std::vector<double> floats = ten_thousand();
  const auto call = [&](bool with_floats) {
    thread_local const Attached attached;
    const py::gil_scoped_acquire locked;
    if (with_floats) {
      return same(floats).cast<std::vector<double>>();
    }
    empty();
    return std::vector<double>();
  };

  const py::gil_scoped_release released;
  bool right = false;
  // Not on this thread, whose state would be taken from it at its end, after the interpreter's.
  bench::on_threads(1, 1, [&](std::size_t, std::size_t) { right = call(true) == floats; });
  if (!right) return 1;
  std::cout << "ready" << std::endl;
  std::size_t size = 0;
  std::size_t callers = 0;
  std::size_t calls = 0;
  for (std::string work; std::cin >> size >> callers >> calls >> work;) {
    // So quick that as few as others make would be over before the clock has started.
    if (work == "empty") calls *= kTimesAsMany;
    const bench::Measured measured =
        bench::on_threads(callers, calls, [&](std::size_t, std::size_t) { (void)call(work == "floats"); });
    std::cout << measured.per_second() << ' ' << bench::median(measured.latencies) * 1e6 << std::endl;
  }
}
