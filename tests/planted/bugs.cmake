# Tests of the tests: in a copy of one file of the core, one line is made wrong, and the simulator must find it.
add_library(lair-planted-search OBJECT tests/planted/search_main.cpp)
lair_target(lair-planted-search)
target_link_libraries(lair-planted-search PUBLIC ${lair_private})
target_include_directories(lair-planted-search PRIVATE ${PROJECT_SOURCE_DIR}/tests)

# planted_bug(NAME FILE RIGHT WRONG): RIGHT must occur exactly once in src/core/FILE.
function(planted_bug name file right wrong)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/core/${file})
  file(READ src/core/${file} text)
  string(REPLACE "${right}" "" without "${text}")
  string(LENGTH "${text}" before)
  string(LENGTH "${without}" after)
  string(LENGTH "${right}" once)
  math(EXPR removed "${before} - ${after}")
  if(NOT removed EQUAL once)
    message(FATAL_ERROR "planted bug ${name}: its line is not, or not once, in src/core/${file}")
  endif()
  string(REPLACE "${right}" "${wrong}" text "${text}")
  set(copy ${PROJECT_BINARY_DIR}/planted/${name}/${file})
  file(CONFIGURE OUTPUT ${copy} CONTENT "${text}" @ONLY)
  # Its symbols are found here, so the library's own file of that name is left out.
  add_executable(planted-${name} ${copy} $<TARGET_OBJECTS:lair-planted-search>)
  lair_target(planted-${name})
  target_link_libraries(planted-${name} PRIVATE ${lair_private} spdlog::spdlog)
  set_target_properties(planted-${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
  add_test(NAME Planted.${name} COMMAND planted-${name})
  set_tests_properties(Planted.${name} PROPERTIES LABELS unit TIMEOUT 120)
endfunction()

planted_bug(dirty-return core.cpp "if (!event.clean) {" "if (!event.clean && event.completed > 0) {")
planted_bug(leaked-grant roster.cpp "effects_->push(granted);"
            "if (last_epoch_ % 64 != 0) effects_->push(granted);")
planted_bug(lost-permit roster.cpp "row.taken -= hold->exclusive ? row.permits : 1;" "row.taken -= hold->exclusive ? 1 : 1;")
planted_bug(lost-slot duties.cpp "if (slot.rest == SlotState::kBackingOff && !slot.row && slot.retry_at <= now_)"
            "if (slot.rest == SlotState::kBackingOff && !slot.row && slot.retry_at <= now_ && slot.generation % 4 != 0)")
planted_bug(hasty-succession succession.cpp "surge_->inherits = due(*slot->row);"
            "surge_->inherits = due(*slot->row); leave(*slot->row, surge_->inherits);")
planted_bug(old-code-left succession.cpp "slot.row->revision < revision_ :" "slot.row->revision + 1 < revision_ :")
planted_bug(lost-wake core.cpp "  // It may have been the one that a free worker was kept for.\n  if (anything_free()) serve();"
            "  // Nobody else is told.")
planted_bug(session-in-two-places sessions.cpp "  if (session.call != 0) return nullptr;\n  if (session.has_home()) {"
            "  if (session.call != 0 && now_ < waiter.spill_after) return nullptr;\n  if (session.has_home()) {")
planted_bug(session-recreated sessions.cpp "    if (!session->bound()) continue;\n" "    if (!session->bound() || session->key % 4 == 0) continue;\n")
planted_bug(session-outrun sessions.cpp "    queue_.park(waiter, session.behind);\n" "    queue_.push(waiter);\n")
planted_bug(session-worker-shared sessions.cpp "    row.owner = session.key;\n    withdraw(row);" "    withdraw(row);")
