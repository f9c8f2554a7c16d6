# The accelerator of Python workers (python/native), for one interpreter. It may be absent: without a compiler's and Python's headers
# it is left out, and `lair doctor` says so.
set(LAIR_PYTHON python3 CACHE STRING "The workers' interpreter that the accelerator is built for; empty: none")
if(NOT LAIR_PYTHON)
  return()
endif()
execute_process(COMMAND ${LAIR_PYTHON} -c "import sysconfig as s; print(s.get_path('include'), s.get_config_var('EXT_SUFFIX'), sep=';')"
                OUTPUT_VARIABLE facts OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  message(STATUS "No accelerator: ${LAIR_PYTHON} does not run")
  return()
endif()
list(GET facts 0 headers)
list(GET facts 1 suffix)
if(NOT EXISTS ${headers}/Python.h)
  message(STATUS "No accelerator: ${headers} has no Python.h (Debian: python3-dev)")
  return()
endif()
# Developers' pools take the SDK from the source tree.
if(LAIR_DEVELOPER)
  set(folder ${PROJECT_SOURCE_DIR}/python/lair_worker)
else()
  set(folder ${PROJECT_BINARY_DIR}/python/lair_worker)
endif()
file(GLOB native_sources CONFIGURE_DEPENDS python/native/*.c python/native/*.h python/native/build.sh)
enable_language(C)
add_custom_command(OUTPUT ${folder}/_native${suffix}
                   COMMAND ${CMAKE_COMMAND} -E env CC=${CMAKE_C_COMPILER} ${PROJECT_SOURCE_DIR}/python/native/build.sh ${folder}
                           ${LAIR_PYTHON}
                   DEPENDS ${native_sources} VERBATIM COMMENT "Building the accelerator for ${LAIR_PYTHON}")
add_custom_target(lair-native ALL DEPENDS ${folder}/_native${suffix})
install(FILES ${folder}/_native${suffix} DESTINATION ${CMAKE_INSTALL_DATADIR}/lair/python/lair_worker COMPONENT runtime)
