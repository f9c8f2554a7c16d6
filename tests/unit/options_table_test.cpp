// options.hpp, the table of the settings and docs/config.md agree.
#include <gtest/gtest.h>
#include <lair/options.hpp>

#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/options_table.hpp"
#include "support/paths.hpp"

namespace lair {
namespace {

// --- One table, one header, one page -----------------------------------------------------------------------
std::string file(const std::string& path) {
  std::ifstream in(test::in_source(path));
  EXPECT_TRUE(in) << path;
  return (std::ostringstream() << in.rdbuf()).str();
}

// The members of a struct in options.hpp: a line that declares, not a comment or a function.
std::set<std::string> members(const std::string& header, const std::string& type) {
  const auto begin = header.find("struct " + type + " {");
  std::string body = header.substr(begin, header.find("\n};", begin) - begin);
  std::set<std::string> names;
  static const std::regex kMember(R"(\n  [A-Za-z][^\n/;(=]* (\w+)( =|\{|;))");
  for (std::sregex_iterator it(body.begin(), body.end(), kMember), end; it != end; ++it)
    names.insert((*it)[1]);
  return names;
}

TEST(OptionsTable, HasExactlyTheMembersOfTheHeader) {
  const std::string header = file("include/lair/options.hpp");
  std::set<std::string> declared = members(header, "WorkerSpec");
  declared.merge(members(header, "PoolOptions"));
  ASSERT_EQ(declared.erase("worker"), 1u);
  ASSERT_EQ(declared.erase("breaker"), 1u);
  for (const std::string& name : members(header, "BreakerOptions")) declared.insert("breaker_" + name);
  EXPECT_EQ(declared, std::set<std::string>(base::option_names().begin(), base::option_names().end()));
}

TEST(OptionsTable, HasASectionForEachSettingInTheDocs) {
  const std::string page = file("docs/config.md");
  std::vector<std::string> sections;
  static const std::regex kHeading(R"(\n### `(\w+)`)");
  for (std::sregex_iterator it(page.begin(), page.end(), kHeading), end; it != end; ++it)
    sections.push_back((*it)[1]);
  EXPECT_EQ(sections, std::vector<std::string>(base::option_names().begin(), base::option_names().end()))
      << "docs/config.md has another set of settings, or another order, than src/base/options_table.cpp";
}

TEST(OptionsTable, GivesTypeUnitAndDefaultAsTheDocsDo) {
  const std::string page = file("docs/config.md");
  for (const base::OptionInfo& option : base::options_table()) {
    std::string line = "### `" + std::string(option.name) + "`\n" + std::string(option.type);
    if (!option.unit.empty()) line += " (" + std::string(option.unit) + ")";
    line += ", default `" + base::default_text(option) + "`";
    EXPECT_NE(page.find(line), page.npos) << "docs/config.md lacks:\n" << line;
  }
}

}  // namespace
}  // namespace lair
