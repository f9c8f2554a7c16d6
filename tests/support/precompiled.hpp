// What every program of the tests compiles once (cmake/LairTests.cmake), in the builds of CI alone: no file includes it.
#pragma once

#include <gtest/gtest.h>

#include <lair/pool.hpp>

// Instantiated in json.cpp alone.
extern template class nlohmann::basic_json<>;
