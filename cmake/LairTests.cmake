# The C++ tests: one program for each of tests/{unit,simulator,process,e2e,…}, every test known to ctest by name and
# labelled by folder. `tests/<folder>/*_main.cpp` are programs of their own (bin/<stem>) that tests start.
enable_testing()
find_package(GTest 1.12 REQUIRED)
include(GoogleTest)

# g++ 12's ThreadSanitizer gives up where the kernel randomises addresses by more than 28 bits; there the
# tests run without randomisation.
set(emulator "")
if(LAIR_SANITIZE MATCHES "thread" AND EXISTS /proc/sys/vm/mmap_rnd_bits)
  file(READ /proc/sys/vm/mmap_rnd_bits random_bits)
  if(random_bits GREATER 28)
    find_program(LAIR_SETARCH setarch REQUIRED)
    set(emulator ${LAIR_SETARCH} -R)
  endif()
endif()

# Three builds of CI compile the tests, which is most of the time that a test run takes: in few pieces, so that templates are
# instantiated once for several files, and with one precompiled header. What is optimised is Lair; the everyday build has
# none of this, so that a missing #include is noticed.
set(quick OFF)
if(LAIR_SANITIZE OR CMAKE_BUILD_TYPE STREQUAL "Release")
  set(quick ON)
endif()
function(lair_quick_to_compile target)
  if(NOT quick)
    return()
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  # Where times count, or where the test itself is what takes the time: of a template that both instantiate, the linker takes
  # the tests' unoptimised copy.
  if((target MATCHES "faults" AND NOT LAIR_SANITIZE) OR target MATCHES "simulator")
    return()
  endif()
  target_compile_options(${target} PRIVATE -O0 -fno-function-sections -fno-data-sections)
  if(NOT LAIR_SANITIZE)
    target_compile_options(${target} PRIVATE -g0)  # a failed test says where; the sanitizers' reports need line numbers
  endif()
  # A check of every access, in code that has half of its accesses in GoogleTest. The library has it.
  if(LAIR_SANITIZE MATCHES "undefined")
    target_compile_options(${target} PRIVATE -fno-sanitize=alignment)
    # clang 14's check of a function's type has no place for itself in a coroutine.
    if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
      target_compile_options(${target} PRIVATE -fno-sanitize=function)
    endif()
  endif()
  if(target STREQUAL "lair-test-support-objects")
    target_precompile_headers(${target} PRIVATE <support/precompiled.hpp>)
  else()
    target_precompile_headers(${target} REUSE_FROM lair-test-support-objects)
  endif()
endfunction()

add_library(lair-test-support INTERFACE)
target_include_directories(lair-test-support INTERFACE ${PROJECT_SOURCE_DIR}/tests)
file(GLOB support_sources CONFIGURE_DEPENDS tests/support/*.cpp)
if(NOT quick)
  list(FILTER support_sources EXCLUDE REGEX "/support/json\\.cpp$")
endif()
# All that the hosts take from there.
set_source_files_properties(tests/support/json.cpp tests/support/paths.cpp PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
set_source_files_properties(tests/support/paths.cpp PROPERTIES COMPILE_DEFINITIONS
  "LAIR_TEST_SOURCE_DIR=\"${PROJECT_SOURCE_DIR}\";LAIR_TEST_BIN_DIR=\"${PROJECT_BINARY_DIR}/bin\"")
if(support_sources)
  add_library(lair-test-support-objects STATIC ${support_sources})
  lair_target(lair-test-support-objects)
  lair_quick_to_compile(lair-test-support-objects)
  target_link_libraries(lair-test-support-objects PUBLIC ${lair_private} spdlog::spdlog SQLite::SQLite3 tsl::robin_map
                                                          GTest::gtest GTest::gmock)
  target_include_directories(lair-test-support-objects PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(lair-test-support INTERFACE lair-test-support-objects)
endif()
# After the support library: a main() of its own wins over GoogleTest's.
target_link_libraries(lair-test-support INTERFACE ${lair_private} spdlog::spdlog SQLite::SQLite3 tsl::robin_map
                                                 GTest::gtest_main GTest::gmock)

# Workers in C.
enable_language(C)
file(GLOB worker_sources CONFIGURE_DEPENDS tests/workers/*.c)
set(c_workers "")
foreach(source ${worker_sources})
  cmake_path(GET source STEM name)
  add_executable(worker-${name} ${source})
  set_target_properties(worker-${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
  list(APPEND c_workers worker-${name})
endforeach()
# A wall clock that jumps, for LD_PRELOAD.
add_library(lair-wall-clock MODULE tests/faults/preload/wall_clock.c)
set_target_properties(lair-wall-clock PROPERTIES PREFIX "" OUTPUT_NAME wall_clock LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
target_link_libraries(lair-wall-clock PRIVATE ${CMAKE_DL_LIBS})

# The rows of docs/reliability.md have time bounds, which hold for what users run, and when nothing else does.
set(row_properties "")
set(times_count OFF)
if(CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT LAIR_SANITIZE)
  set(times_count ON)
  set(row_properties RUN_SERIAL ON)
endif()

set(folders unit process e2e faults chaos)
# The core is pure code with one thread: ThreadSanitizer could find nothing there.
if(NOT LAIR_SANITIZE MATCHES "thread")
  list(APPEND folders simulator)
endif()
# Under ThreadSanitizer they take minutes, and make other calls fail, not other threads.
if(CMAKE_BUILD_TYPE STREQUAL "Debug" AND LAIR_DEVELOPER AND NOT LAIR_SANITIZE MATCHES "thread")
  list(APPEND folders failpoints)
endif()
foreach(folder ${folders})
  file(GLOB sources CONFIGURE_DEPENDS tests/${folder}/*.cpp)
  set(helper_sources ${sources})
  list(FILTER sources EXCLUDE REGEX "_main\\.cpp$")
  list(FILTER helper_sources INCLUDE REGEX "_main\\.cpp$")

  lair_without_missing_boost(sources)
  # Boost.Asio has fences, of which ThreadSanitizer knows nothing, beside its locks, which suffice for it.
  if(LAIR_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    file(GLOB asio_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${folder}/asio_*.cpp)
    set_source_files_properties(${asio_sources} PROPERTIES COMPILE_OPTIONS -Wno-tsan)
  endif()
  # Nor in the rest of what is pure.
  if(LAIR_SANITIZE MATCHES "thread")
    list(FILTER sources EXCLUDE REGEX "/unit/(base|core|wire)_[^/]*$")
  endif()

  set(helpers "")
  foreach(helper_source ${helper_sources})
    cmake_path(GET helper_source STEM helper)
    lair_program(${helper} ${helper_source})
    lair_quick_to_compile(${helper})
    target_link_libraries(${helper} PRIVATE lair-test-support-objects)  # with the precompiled header
    target_include_directories(${helper} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
    list(APPEND helpers ${helper})
  endforeach()

  if(sources)
    set(target lair-${folder}-tests)
    lair_program(${target} ${sources})
    lair_quick_to_compile(${target})
    target_link_libraries(${target} PRIVATE lair-test-support)
    if(folder MATCHES "^(unit|e2e)$" AND Boost_FOUND)
      target_link_libraries(${target} PRIVATE Boost::headers)
    endif()
    set_target_properties(${target} PROPERTIES CROSSCOMPILING_EMULATOR "${emulator}")
    if(helpers)
      add_dependencies(${target} ${helpers})
    endif()
    add_dependencies(${target} lair-keeper ${c_workers})
    set(properties "")
    set(timeout 120)
    if(folder STREQUAL "failpoints")
      set(timeout 1800)  # for the long run; each of its many scenarios has a watchdog
    endif()
    if(folder STREQUAL "faults")
      add_dependencies(${target} lair-wall-clock)
      set(properties ${row_properties})
      if(times_count)
        target_compile_definitions(${target} PRIVATE LAIR_TIMES_COUNT)
      endif()
    endif()
    if(folder STREQUAL "chaos")
      set(timeout 3600)  # for the long run, which goes on until it has made its calls
    endif()
    set(others "")
    if(folder STREQUAL "faults")  # one row's long run takes ten minutes
      gtest_discover_tests(${target} TEST_FILTER "*.R40_*" DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                           PROPERTIES TIMEOUT 1800 LABELS ${folder} ${properties})
      set(others TEST_FILTER "-*.R40_*")
    endif()
    # PRE_TEST: a program that cannot list its tests fails the test run, not the build.
    gtest_discover_tests(${target} ${others} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                         PROPERTIES TIMEOUT ${timeout} LABELS ${folder} ${properties})
  endif()
endforeach()

if(times_count)
  include(tests/planted/bugs.cmake)

  # Not for ctest: tests/counts/test_counts.py has its instructions counted. The fake workers are compiled again for it: of a
  # template that they share with Lair, the linker must not take the tests' unoptimised copy.
  lair_program(lair-hot-path tests/counts/hot_path.cpp tests/support/fake_launcher.cpp)
  target_include_directories(lair-hot-path PRIVATE tests)
  target_link_libraries(lair-hot-path PRIVATE ${lair_private} spdlog::spdlog tsl::robin_map)

  # Not for ctest: tests/dspy/test_cpp.py runs it, where DSPy is installed and a language model for tests listens.
  file(GLOB sources CONFIGURE_DEPENDS tests/dspy/*_test.cpp)
  lair_program(lair-dspy-tests ${sources})
  lair_quick_to_compile(lair-dspy-tests)
  target_link_libraries(lair-dspy-tests PRIVATE lair-test-support)
  add_dependencies(lair-dspy-tests lair-keeper)
endif()
