# bin/lair, libexec/lair/lair-keeper, the library, its headers, the Python SDK, and find_package(lair).
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/lair)

install(TARGETS lair EXPORT lair-targets)
install(DIRECTORY include/lair TYPE INCLUDE)
install(DIRECTORY python/lair_worker DESTINATION ${CMAKE_INSTALL_DATADIR}/lair/python
        FILES_MATCHING PATTERN "*.py" PATTERN "py.typed" PATTERN "__pycache__" EXCLUDE)
# `lair demo` runs one of them.
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DATADIR}/lair PATTERN "__pycache__" EXCLUDE)
if(TARGET lair-keeper)
  install(TARGETS lair-keeper DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/lair)
endif()
if(TARGET lair-cli)
  install(TARGETS lair-cli)
endif()

install(EXPORT lair-targets NAMESPACE lair:: FILE lairTargets.cmake DESTINATION ${package_dir})
configure_package_config_file(cmake/lairConfig.cmake.in ${PROJECT_BINARY_DIR}/lairConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
# Until 1.0 a minor version may change the API.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/lairConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/lairConfig.cmake ${PROJECT_BINARY_DIR}/lairConfigVersion.cmake
        DESTINATION ${package_dir})
