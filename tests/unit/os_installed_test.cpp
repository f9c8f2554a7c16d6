// Where the keeper and the SDK are looked for.
#include "os/installed.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <lair/installed.hpp>
#include <set>

#include "os/proc.hpp"

namespace lair::os {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::Not;

TEST(OsInstalled, TheProgramsOwnTreeComesFirst) {
  const fs::path tree = fs::path(program_path()).parent_path().parent_path();
  EXPECT_EQ(places_of(Part::kLibexec).front(), (tree / "libexec/lair").string());
  EXPECT_EQ(places_of(Part::kData).front(), (tree / "share/lair").string());
}

TEST(OsInstalled, TheTreeOfTheHeadersIsLookedAtToo) {
  detail::note_header(
      "include/lair/installed.hpp");  // by a compiler that was given a relative path: of no use
  detail::note_header("/nowhere/tree/lib/../include/lair/installed.hpp");
  detail::note_header("/nowhere/other/include/lair/installed.hpp");
  EXPECT_THAT(places_of(Part::kLibexec), Contains("/nowhere/tree/libexec/lair"));
  EXPECT_THAT(places_of(Part::kData), Contains("/nowhere/tree/share/lair"));
  EXPECT_THAT(places_of(Part::kData), Not(Contains("/nowhere/other/share/lair")));
}

TEST(OsInstalled, NoPlaceIsLookedAtTwice) {
  for (const Part part : {Part::kLibexec, Part::kData}) {
    const std::vector<std::string> places = places_of(part);
    EXPECT_EQ(std::set<std::string>(places.begin(), places.end()).size(), places.size());
  }
}

}  // namespace
}  // namespace lair::os
