# One libFuzzer program, bin/fuzz-<stem>, for each tests/fuzz/*.cpp. Clang only.
file(GLOB fuzz_sources CONFIGURE_DEPENDS tests/fuzz/*.cpp)
foreach(source ${fuzz_sources})
  cmake_path(GET source STEM name)
  lair_program(fuzz-${name} ${source})
  target_link_libraries(fuzz-${name} PRIVATE ${lair_private})
  target_compile_options(fuzz-${name} PRIVATE -fsanitize=fuzzer)
  target_link_options(fuzz-${name} PRIVATE -fsanitize=fuzzer)
endforeach()
