// `lair describe`: the commands that a worker announces in its handshake, as signatures.
#include <algorithm>
#include <memory>
#include <utility>

#include "common.hpp"

namespace lair::cli {

namespace {

// As Python writes it: `analyse(text: str, /, *, top: int = 3)`.
std::string signature(const CommandInfo& command) {
  std::string text;
  bool after_positional_only = false;
  bool star = false;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  for (const Json& parameter : command.params) {
    const std::string kind = parameter.value("kind", "");
    if (after_positional_only && kind != "positional_only") add("/");
    after_positional_only = kind == "positional_only";
    if (kind == "keyword_only" && !star) add("*");
    star = star || kind == "keyword_only" || kind == "var_positional";

    const std::string annotation = parameter.value("annotation", "");
    const std::string equals = annotation.empty() ? "=" : " = ";
    add((kind == "var_positional" ? "*"
         : kind == "var_keyword"  ? "**"
                                  : "") +
        parameter.value("name", "?") + (annotation.empty() ? "" : ": " + annotation) +
        (parameter.contains("default") ? equals + parameter.value("default", "") : ""));
  }
  if (after_positional_only) add("/");
  return command.name + '(' + text + ')';
}

std::string table(const std::vector<CommandInfo>& commands) {
  constexpr std::size_t kWidest = 44;  // a longer signature has a line of its own
  std::vector<std::string> signatures;
  std::size_t width = 0;
  for (const CommandInfo& command : commands) {
    signatures.push_back(signature(command));
    if (signatures.back().size() <= kWidest) width = std::max(width, signatures.back().size());
  }
  std::string text;
  for (std::size_t i = 0; i < commands.size(); ++i) {
    text += printable(signatures[i]);
    if (!commands[i].doc.empty()) {
      const bool fits = signatures[i].size() <= width;
      text += fits ? std::string(width - signatures[i].size() + 2, ' ') : '\n' + std::string(width + 2, ' ');
      text += printable(commands[i].doc);
    }
    text += '\n';
  }
  return text;
}

std::string as_json(const std::vector<CommandInfo>& commands) {
  Json list = Json::array();
  for (const CommandInfo& command : commands) {
    list.push_back(
        {{"name", command.name}, {"kind", command.kind}, {"doc", command.doc}, {"params", command.params}});
  }
  // A worker of protocol 2 without any command does not start.
  const Json json = {{"protocol", commands.empty() ? 1 : 2}, {"commands", std::move(list)}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

Result<void> describe(const WorkerArguments& worker, bool json) {
  auto pool = Pool::create(pool_options(worker));
  if (!pool) return std::move(pool).error();
  if (auto ready = start(*pool); !ready) return std::move(ready).error();
  const std::vector<CommandInfo> commands = pool->commands();
  if (json) {
    print(as_json(commands));
  } else if (commands.empty()) {
    print(
        "This worker speaks protocol 1, whose programs do not announce their commands. It is ready for "
        "calls:\n"
        "  lair call COMMAND '{\"name\": \"value\"}' -- …\n");
  } else {
    print(table(commands));
  }
  return {};
}

}  // namespace

void add_describe(CLI::App& program, WorkerArguments& worker, int& status) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command =
      program.add_subcommand("describe", "Lists the commands of a worker, with their parameters");
  add_worker_options(*command, worker);
  command->add_flag("--json", *json, "Prints what the worker announced, as JSON");
  command->footer(R"(A worker program's command line follows '--'.

Examples:
  lair describe --module textstats
  lair describe --json --python ~/venv/bin/python --module pkg.mod)");
  command->callback([&worker, &status, json] {
    const Result<void> described = describe(worker, *json);
    if (described) return;
    if (*json)
      print(Json{{"error", to_json(described.error())}}.dump(2, ' ', false, Json::error_handler_t::replace) +
            '\n');
    report("describe", described.error(), !worker.quiet);
    status = exit_status(described.error().kind);
  });
}

}  // namespace lair::cli
