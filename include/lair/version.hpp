// The library's version, as one place states it (CMakeLists.txt takes it from here).
#pragma once

#define LAIR_VERSION_MAJOR 0
#define LAIR_VERSION_MINOR 1
#define LAIR_VERSION_PATCH 0
#define LAIR_VERSION_STRING "0.1.0"
