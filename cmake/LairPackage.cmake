# Two Debian packages by `cpack -G DEB`: lair (programs, SDK) and liblair-dev (library, headers). The `package` preset
# builds what goes into them.
set(LAIR_PACKAGE_MAINTAINER "The Lair authors <lair@localhost.invalid>" CACHE STRING "Who has made the package")

set(CPACK_PACKAGE_NAME lair)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "warm, supervised Python workers for C++ programs")
set(CPACK_PACKAGE_CONTACT ${LAIR_PACKAGE_MAINTAINER})
set(CPACK_PACKAGING_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_COMPONENTS_ALL runtime development)
set(CPACK_STRIP_FILES ON)
set(CPACK_GENERATOR DEB)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
# A shared library is found in the build tree, whoever packages it.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR})

set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME lair)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_DEPENDS "python3 (>= 3.9)")
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION
    "The command line, the keeper that lets no worker outlive its program, and the\nPython SDK: what programs that use Lair need to run.")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME liblair-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
    "lair (= ${PROJECT_VERSION}), nlohmann-json3-dev (>= 3.11), libspdlog-dev (>= 1:1.10), libsqlite3-dev (>= 3.37)")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION
    "The library and its headers, for CMake (lair::lair) and pkg-config (lair).")

# Debian's place for them is each package's own.
# changelog.gz is the package's own, in Debian's format; NEWS.gz is Lair's.
string(TIMESTAMP LAIR_PACKAGE_DATE "%a, %d %b %Y %H:%M:%S +0000" UTC)
configure_file(cmake/debian/changelog.in ${PROJECT_BINARY_DIR}/changelog @ONLY)
configure_file(CHANGELOG.md ${PROJECT_BINARY_DIR}/NEWS COPYONLY)  # and configure again when it changes
foreach(file changelog NEWS)
  execute_process(COMMAND gzip -9n -c ${PROJECT_BINARY_DIR}/${file} OUTPUT_FILE ${PROJECT_BINARY_DIR}/${file}.gz
                  COMMAND_ERROR_IS_FATAL ANY)
endforeach()
set(notes cmake/debian/copyright ${PROJECT_BINARY_DIR}/changelog.gz ${PROJECT_BINARY_DIR}/NEWS.gz)
install(FILES ${notes} DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/lair COMPONENT runtime)
install(FILES ${notes} DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/liblair-dev COMPONENT development)
include(CPack)
