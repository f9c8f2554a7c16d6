// Answers questions about Python's own documentation with a language model: a DSPy program, scored, compiled and scored again,
// then asked by 8 callers at once; and an agent, whose tools are functions of this program.
//
//   ./dev demo dspy                                              # with a language model that is made up: no key, no network
//   dspy_qa --url http://localhost:8000/v1 --model my-model      # with a real one; its key in DSPY_QA_KEY
#include <lair/dspy.hpp>
#include <lair/pool.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <stop_token>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "dspy_qa_library.hpp"
#include "worker_file.hpp"

using namespace std::chrono_literals;
namespace dspy = lair::dspy;

struct Answer {
  std::string answer;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Answer, answer)

struct Settings {
  std::string url, model, key, python = "python3";
};

const std::vector<std::pair<std::string, std::string>> kTraining = {
    {"Which module makes temporary files and directories?", "tempfile"},
    {"Which module keeps Python objects in a dictionary on disk?", "shelve"},
    {"Which module converts between RGB and other colour systems?", "colorsys"},
    {"Which module wraps and fills text?", "textwrap"},
};
const std::vector<std::pair<std::string, std::string>> kQuestions = {
    {"Which module implements a heap queue, also known as a priority queue?", "heapq"},
    {"Which module matches file names with shell patterns?", "fnmatch"},
    {"Which module opens a web browser?", "webbrowser"},
    {"Which module measures the execution time of small code snippets?", "timeit"},
    {"Which module finds where to insert an item into a sorted list?", "bisect"},
    {"Which module is a Python debugger?", "pdb"},
    {"Which module compares sequences and shows their differences?", "difflib"},
    {"Which module reads and writes ZIP files?", "zipfile"},
};

std::ostream& line(const char* what) { return std::cout << "  " << std::left << std::setw(12) << what; }

std::vector<lair::Json> examples_of(const std::vector<std::pair<std::string, std::string>>& questions,
                                    const Library& library) {
  std::vector<lair::Json> found;
  for (const auto& [question, answer] : questions) {
    found.push_back({{"context", library.search(question, 3)}, {"question", question}, {"answer", answer}});
  }
  return found;
}

// A module's name, however the model wraps it: "`heapq`." is heapq. A sentence about it is not.
bool same(const Answer& wanted, const Answer& got) {
  return Library::words_of(wanted.answer) == Library::words_of(got.answer);
}

// Eight threads ask all questions, three times over.
void ask_at_once(const dspy::Program& qa, const Library& library) {
  constexpr std::size_t kCallers = 8;
  std::atomic<std::size_t> right = 0, failed = 0;
  const auto started = lair::SteadyClock::now();
  {
    std::vector<std::jthread> callers;
    for (std::size_t caller = 0; caller < kCallers; ++caller) {
      callers.emplace_back([&, caller] {
        for (std::size_t i = 0; i < 3; ++i) {
          const auto& [question, wanted] = kQuestions[(caller + i) % kQuestions.size()];
          const auto got =
              qa.try_call<Answer>({{"context", library.search(question, 3)}, {"question", question}});
          if (!got) ++failed;
          if (got && same({wanted}, *got)) ++right;
        }
      });
    }
  }
  const double seconds = std::chrono::duration<double>(lair::SteadyClock::now() - started).count();
  line("8 callers") << kCallers * 3 << " questions in " << std::setprecision(2) << seconds << " s: " << right
                    << " right, " << failed << " failed\n";
}

void run(const Settings& settings, std::stop_token stop) {
  // What the questions are about comes from Python, too: any module can be a worker.
  const Library library = [&] {
    lair::WorkerSpec worker = lair::python(worker_file("dspy_qa_text.py"));
    worker.interpreter = settings.python;
    lair::Pool texts{{.name = "texts", .worker = worker, .size = 1, .log_level = "off"}};
    return Library(texts.call<std::vector<Passage>>({.timeout = 60s, .stop = stop}, "passages"));
  }();
  line("text") << library.size() << " passages of Python's licence and documentation strings\n";

  lair::WorkerSpec worker = lair::python("lair_dspy");
  worker.interpreter = settings.python;
  lair::Pool pool{{.name = "dspy",
                   .worker = worker,
                   .size = 2,
                   .concurrency = 8,
                   .start_timeout = 3min,
                   .log_level = "off"}};
  auto client = dspy::Client(pool).with({.timeout = 5min, .stop = stop});
  client.configure(
      {.model = settings.model, .api_base = settings.url, .api_key = settings.key, .temperature = 0},
      dspy::Check::kEndpoint);
  line("model") << settings.model << (settings.url.empty() ? "" : " at " + settings.url) << '\n';

  const auto right = dspy::judge(pool, "right", same);
  const auto asked = dspy::Signature()
                         .input("context", "list[str]", "passages that may help")
                         .input("question", "str")
                         .output("answer", "str", "the name of one module, and nothing else")
                         .instructions("Answer from the context.");
  auto qa = client.chain_of_thought(asked);
  const auto examples = examples_of(kQuestions, library);
  const auto before = qa.evaluate(pool, examples, {.metric = right});
  line("before") << before.score << " % of " << examples.size() << " questions\n";

  auto compiling =
      qa.compile(examples_of(kTraining, library), {.optimizer = "BootstrapFewShot", .metric = right});
  std::uint64_t judged = 0;
  while (const auto step = compiling.next()) {
    if (std::holds_alternative<dspy::Progress>(*step)) ++judged;
  }
  const auto compiled = compiling.program();
  std::size_t demos = 0;
  for (const lair::Json& count : compiling.told()->demos) demos += count.get<std::size_t>();
  line("compiled") << compiling.told()->optimizer << ": " << judged << " answers judged, " << demos
                   << " kept as examples\n";
  const auto after = compiled.evaluate(pool, examples, {.metric = right});
  line("after") << after.score << " % of " << examples.size() << " questions\n";
  ask_at_once(compiled, library);

  std::vector<std::string> called;  // by one call at a time
  const auto search =
      dspy::tool(pool, "search", "Finds passages about something.", {"query", {"most", "how many", 3}},
                 [&](const std::string& query, std::size_t most) {
                   called.push_back("search \"" + query + '"');
                   return library.search(query, most);
                 });
  const auto read = dspy::tool(pool, "read", "Reads what a module says of itself.", {"module"},
                               [&](const std::string& module) {
                                 called.push_back("read " + module);
                                 return library.read(module);
                               });
  const auto agent = client.react("question -> answer", {search, read}, {.max_iters = 5});
  const std::string question = "What would I use for a priority queue?";
  const auto answer = agent.call<Answer>({{"question", question}});
  line("agent") << question << '\n';
  for (const std::string& each : called) line("") << each << '\n';
  line("") << answer.answer << '\n';
}

Settings settings_of(int argc, char** argv) {
  const auto environment = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  Settings found{environment("DSPY_QA_URL"), environment("DSPY_QA_MODEL"), environment("DSPY_QA_KEY")};
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    std::string* const value = name == "--url"      ? &found.url
                               : name == "--model"  ? &found.model
                               : name == "--python" ? &found.python
                                                    : nullptr;
    if (value == nullptr || i + 1 == argc) {
      throw std::invalid_argument("usage: dspy_qa [--url URL] [--model NAME] [--python PROGRAM]");
    }
    *value = argv[i + 1];
  }
  if (found.model.empty()) {
    throw std::invalid_argument(
        "no language model: --model NAME (and --url URL for a server of your own), or DSPY_QA_MODEL and "
        "DSPY_QA_URL; its "
        "key is in DSPY_QA_KEY. Without one: ./dev demo dspy");
  }
  if (found.key.empty() && !found.url.empty())
    found.key = "none";  // for servers of one's own that ask for none
  return found;
}

int main(int argc, char** argv) {
  // Ctrl-C is for one thread, which asks all calls to end; all others inherit that they are not to be interrupted.
  sigset_t interrupts;
  sigemptyset(&interrupts);
  sigaddset(&interrupts, SIGINT);
  sigaddset(&interrupts, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &interrupts, nullptr);
  std::stop_source stop;
  std::thread([interrupts, stop]() mutable {
    int signal = 0;
    sigwait(&interrupts, &signal);
    stop.request_stop();
  }).detach();

  try {
    run(settings_of(argc, argv), stop.get_token());
    return 0;
  } catch (const lair::CallError& failed) {
    if (stop.stop_requested()) return std::cerr << "dspy_qa: interrupted\n", 130;
    std::cerr << "dspy_qa: " << failed.error().message << '\n';
  } catch (const std::invalid_argument& wrong) {
    std::cerr << "dspy_qa: " << wrong.what() << '\n';
    return 2;
  }
  return 1;
}
