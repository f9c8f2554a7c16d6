# bin/lair, libexec/lair/lair-keeper, the library, its headers, the Python SDK, find_package(lair) and pkg-config.
#
# The tree may be moved after its installation: nothing in it is an absolute path that matters (src/os/installed.hpp).
# Two components: `runtime` is what a program needs to run, `development` what it needs to be built.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/lair)

install(TARGETS lair EXPORT lair-targets
        LIBRARY COMPONENT runtime NAMELINK_COMPONENT development
        ARCHIVE COMPONENT development)
install(DIRECTORY include/lair TYPE INCLUDE COMPONENT development)
install(DIRECTORY python/lair_worker python/lair_dspy DESTINATION ${CMAKE_INSTALL_DATADIR}/lair/python COMPONENT runtime
        FILES_MATCHING PATTERN "*.py" PATTERN "py.typed" PATTERN "__pycache__" EXCLUDE PATTERN ".ruff_cache" EXCLUDE)
# `lair demo` runs one of them.
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DATADIR}/lair COMPONENT runtime PATTERN "__pycache__" EXCLUDE)
if(TARGET lair-keeper)
  install(TARGETS lair-keeper DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/lair COMPONENT runtime)
endif()
if(TARGET lair-cli)
  install(TARGETS lair-cli COMPONENT runtime)
  set(manual ${PROJECT_BINARY_DIR}/lair.1.gz)
  execute_process(COMMAND gzip -9n -c ${PROJECT_SOURCE_DIR}/apps/lair/lair.1 OUTPUT_FILE ${manual}
                  COMMAND_ERROR_IS_FATAL ANY)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS apps/lair/lair.1)
  install(FILES ${manual} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT runtime)
endif()

# `cmake --install --strip` leaves a static library as it is, with ten times as much debugging information as code.
get_target_property(lair_type lair TYPE)
if(lair_type STREQUAL "STATIC_LIBRARY")
  install(CODE "if(CMAKE_INSTALL_DO_STRIP)
    execute_process(COMMAND \"${CMAKE_STRIP}\" --strip-debug
      \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/$<TARGET_FILE_NAME:lair>\" COMMAND_ERROR_IS_FATAL ANY)
  endif()" COMPONENT development)
endif()

# --- find_package(lair) -----------------------------------------------------------------------------
install(EXPORT lair-targets NAMESPACE lair:: FILE lairTargets.cmake DESTINATION ${package_dir} COMPONENT development)
configure_package_config_file(cmake/lairConfig.cmake.in ${PROJECT_BINARY_DIR}/lairConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
# Until 1.0 a minor version may change the API.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/lairConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/lairConfig.cmake ${PROJECT_BINARY_DIR}/lairConfigVersion.cmake
        DESTINATION ${package_dir} COMPONENT development)

# --- pkg-config lair --------------------------------------------------------------------------------
# Who links the static library links what it uses as well.
if(lair_type STREQUAL "STATIC_LIBRARY")
  set(pc_requires "nlohmann_json >= 3.11, spdlog >= 1.10, sqlite3 >= 3.37")
  set(pc_libs "-pthread -ldl")
else()
  set(pc_requires "nlohmann_json >= 3.11")
  set(pc_libs "-pthread")
endif()
set(pc_dir ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY ${pc_dir} OUTPUT_VARIABLE pc_prefix)
foreach(kind LIB INCLUDE)
  string(TOLOWER "pc_${kind}dir" variable)
  set(${variable} "\${prefix}")
  cmake_path(APPEND ${variable} "${CMAKE_INSTALL_${kind}DIR}")  # an absolute one replaces the prefix
endforeach()
configure_file(cmake/lair.pc.in ${PROJECT_BINARY_DIR}/lair.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/lair.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
