# What every target of this project has in common. Nothing of it reaches a consumer.

find_program(LAIR_CCACHE ccache)
if(LAIR_CCACHE AND LAIR_DEVELOPER AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${LAIR_CCACHE})
endif()

function(lair_target target)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  target_compile_definitions(${target} PRIVATE LAIR_IN_TREE)
  # In the developers' unoptimised builds a test can have system calls fail (src/os/failpoint.hpp).
  if(LAIR_DEVELOPER AND CMAKE_BUILD_TYPE STREQUAL "Debug")
    target_compile_definitions(${target} PRIVATE LAIR_FAILPOINTS)
  endif()
  # Functions in sections of their own, so that the keeper can leave out what it does not call.
  target_compile_options(${target} PRIVATE -ffunction-sections -fdata-sections)
  if(LAIR_DEVELOPER)
    # Of sources that CMake names in full, too: so that the compiler's cache serves a tree that lies elsewhere.
    target_compile_options(${target} PRIVATE -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=)
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
    # Designated initialisers name what differs from the default; g++ 12 would have them name everything.
    target_compile_options(${target} PRIVATE -Wno-missing-field-initializers)
    # g++'s -Wconversion has no part in signs, and clang's has.
    if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
      target_compile_options(${target} PRIVATE -Wno-sign-conversion)
    endif()
    # With -fsanitize, g++ 12 sees uninitialised uses in its own <variant> and <regex>, and in a precompiled <string>
    # accesses beyond an array.
    if(LAIR_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized -Wno-array-bounds -Wno-stringop-overflow)
    endif()
  endif()
  if(LAIR_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${LAIR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    # Its check of dynamic types looks at memory through a pipe. Where a test leaves no descriptor for one, it takes the first
    # object of each type for a broken one.
    if(LAIR_SANITIZE MATCHES "undefined")
      # Nor are null pointers and sizes of objects checked at every access, which is a third of the compiler's time:
      # AddressSanitizer stops at what they lead to.
      target_compile_options(${target} PRIVATE -fno-sanitize=vptr,null,object-size)
    endif()
    target_link_options(${target} PRIVATE -fsanitize=${LAIR_SANITIZE})
  endif()
endfunction()

# A program in bin/.
function(lair_program target)
  add_executable(${target} ${ARGN})
  lair_target(${target})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
endfunction()

# Leaves out the sources that need Boost, where it is not found; their names begin with asio_.
macro(lair_without_missing_boost sources)
  if(NOT Boost_FOUND)
    list(FILTER ${sources} EXCLUDE REGEX "/asio_[^/]*$")
  endif()
endmacro()

# One program for each .cpp file of a folder, named after it. The developers' release build gives them one precompiled header.
function(lair_programs folder)
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cpp)
  lair_without_missing_boost(sources)
  set(first "")
  foreach(source ${sources})
    cmake_path(GET source STEM name)
    lair_program(${name} ${source})
    target_link_libraries(${name} PRIVATE ${ARGN})
    if(LAIR_DEVELOPER AND CMAKE_BUILD_TYPE STREQUAL "Release")
      if(first)
        target_precompile_headers(${name} REUSE_FROM ${first})
      else()
        target_precompile_headers(${name} PRIVATE <lair/pool.hpp>)
        set(first ${name})
      endif()
      target_compile_options(${name} PRIVATE -Wno-array-bounds -Wno-stringop-overflow)  # as above
    endif()
    if(name MATCHES "^asio_")
      target_link_libraries(${name} PRIVATE Boost::headers)
    endif()
  endforeach()
endfunction()
