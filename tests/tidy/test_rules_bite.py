"""Each rule finds the violation that it is for, and lets its nearest legal relative pass."""

from __future__ import annotations

import pytest
import rules

HOME = "/home" + "/ann/x"

# rule, file, text that it must find
VIOLATIONS = [
    ("floors", "src/os/a.cpp", '#include "wire/frame.hpp"\n'),
    ("floors", "src/wire/a.cpp", '#include "os/fd.hpp"\n'),
    ("floors", "src/store/a.cpp", '#include "os/fd.hpp"\n'),
    ("floors", "src/store/a.cpp", '#include "wire/frame.hpp"\n'),
    ("floors", "src/store/a.cpp", "#include <lair/pool.hpp>\n"),
    ("floors", "src/core/a.hpp", '#include "store/session_store.hpp"\n'),
    ("floors", "src/core/a.hpp", '#include "os/fd.hpp"\n'),
    ("floors", "src/core/a.hpp", '#include "worker/channel.hpp"\n'),
    ("floors", "src/worker/a.hpp", '#include "core/core.hpp"\n'),
    ("floors", "src/worker/a.hpp", '#include "pool/shell.hpp"\n'),
    ("floors", "src/base/a.cpp", "#include <lair/pool.hpp>\n"),
    ("floors", "src/pool/a.cpp", "#include <lair/dspy.hpp>\n"),
    ("floors", "src/dspy/a.cpp", '#include "pool/shell.hpp"\n'),
    ("floors", "include/lair/a.hpp", '#include "base/assert.hpp"\n'),
    ("floors", "apps/lair/a.cpp", '#include "pool/shell.hpp"\n'),
    ("floors", "apps/lair-keeper/a.cpp", '#include "worker/channel.hpp"\n'),
    ("no_fork", "src/worker/a.cpp", "if (fork() == 0) {}\n"),
    ("no_fork", "apps/lair/a.cpp", "::vfork();\n"),
    ("no_process_wide_effects", "src/os/a.cpp", "std::system(line);\n"),
    ("no_process_wide_effects", "src/os/a.cpp", "popen(line);\n"),
    ("no_process_wide_effects", "src/os/a.cpp", "signal(SIGPIPE, SIG_IGN);\n"),
    ("no_process_wide_effects", "src/os/a.cpp", "::sigaction(9, &a, nullptr);\n"),
    ("no_process_wide_effects", "src/os/a.cpp", "x = ::chdir(path);\n"),
    ("no_sleep", "src/pool/a.cpp", "std::this_thread::sleep_for(1s);\n"),
    ("no_sleep", "tests/unit/a.cpp", "usleep(10);\n"),
    ("no_printing", "src/pool/a.cpp", 'std::cout << "x";\n'),
    ("no_printing", "src/pool/a.cpp", 'printf("x");\n'),
    ("no_stray_syscalls", "src/worker/a.cpp", "::read(fd, data, size);\n"),
    ("no_stray_syscalls", "src/pool/a.cpp", "return ::close(fd);\n"),
    ("no_stray_syscalls", "apps/lair/a.cpp", "::kill(pid, 9);\n"),
    ("short_files", "src/os/a.cpp", "\n" * 461),
    ("short_files", "python/a.py", "\n" * 461),
    ("prose_first", "src/os/a.hpp", "#pragma once\n"),
    ("no_machine_paths", "docs/a.md", f"see {HOME}\n"),
    ("no_machine_paths", "README.md", f"see {HOME}\n"),
    ("changelog", "CHANGELOG.md", "# Changelog\n"),
    ("links_lead_somewhere", "docs/a.md", "[b](b.md)\n"),
    ("decisions_are_indexed", "docs/adr/0001-a.md", "# a\n"),
    ("error_kinds_are_explained", "include/lair/error.hpp", "enum class ErrorKind : int {\n  kLost,\n};\n"),
    ("error_kinds_are_explained", "docs/troubleshooting.md", "## kFound\n"),
    ("quoted_programs", "docs/a.md", "<!-- examples/none.cpp -->\n```cpp\nint a;\n```\n"),
    ("quoted_programs", "docs/a.md", "<!-- examples/none.cpp -->\n\n```cpp\nint a;\n```\n"),
]

# rule, file, text that it must let pass
RELATIVES = [
    (
        "floors",
        "src/worker/a.cpp",
        '#include "os/fd.hpp"\n#include "wire/frame.hpp"\n#include <lair/endpoint.hpp>\n',
    ),
    ("floors", "apps/lair-keeper/a.cpp", '#include "worker/keeper_protocol.hpp"\n#include "own.hpp"\n'),
    ("floors", "src/pool/a.cpp", "#include <lair/pool.hpp>\n"),
    ("floors", "src/dspy/a.cpp", "#include <lair/dspy.hpp>\n#include <lair/pool.hpp>\n"),
    ("no_fork", "apps/lair-keeper/a.cpp", "fork();\n"),
    ("no_fork", "src/os/a.cpp", "pthread_atfork(a, b, c);  // fork() is not called\n"),
    ("no_process_wide_effects", "src/worker/a.cpp", 'launcher.signal(key, 9);\nconst char* x = "system(";\n'),
    ("no_process_wide_effects", "src/worker/a.cpp", "void KeeperLauncher::signal(WorkerKey key) {}\n"),
    ("no_sleep", "tests/unit/a.cpp", "// sleep_for would be wrong\n"),
    ("no_printing", "src/base/a.cpp", 'snprintf(text, 3, "x");\nfprintf(stderr, "x");\n'),
    ("no_stray_syscalls", "src/os/a.cpp", "::read(fd, data, size);\n"),
    ("no_stray_syscalls", "src/pool/a.cpp", "os::poll(fds);\nthis->close();\n/* ::read(\n::read( */\n"),
    ("short_files", "src/os/a.cpp", "\n" * 450),
    ("prose_first", "src/os/a.hpp", "// Owned descriptor.\n#pragma once\n"),
    ("no_machine_paths", "src/os/a.cpp", "os/home/x\n"),
    ("changelog", "CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n"),
    ("links_lead_somewhere", "docs/a.md", "[here](a.md) [there](https://example.org/x)\n"),
    ("decisions_are_indexed", "docs/adr/README.md", "[1](0001-a.md)\n"),
    ("error_kinds_are_explained", "include/lair/error.hpp", "enum class Delivery {\n  kNotSent,\n};\n"),
    ("error_kinds_are_explained", "docs/troubleshooting.md", "## Symptoms without an error\n### kinds\n"),
    ("quoted_programs", "docs/a.md", "```cpp\nint a;\n```\n<!-- calls: begin -->\n"),
]


def run(name, tmp_path, path, text):
    target = tmp_path / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return list(getattr(rules, name)(tmp_path))


@pytest.mark.parametrize(("rule", "path", "text"), VIOLATIONS, ids=lambda value: str(value)[:40].strip())
def test_violation_is_found(rule, path, text, tmp_path):
    findings = run(rule, tmp_path, path, text)
    assert findings
    assert findings[0].startswith(path)


@pytest.mark.parametrize(("rule", "path", "text"), RELATIVES, ids=lambda value: str(value)[:40].strip())
def test_legal_relative_passes(rule, path, text, tmp_path):
    assert run(rule, tmp_path, path, text) == []


def test_a_program_that_is_quoted_as_it_is_passes(tmp_path):
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples/a.cpp").write_text("// A.\nint a;\n", encoding="utf-8")
    page = "<!-- examples/a.cpp -->\n```cpp\n{}\n```\n"
    assert run("quoted_programs", tmp_path, "docs/a.md", page.format("int a;")) == []
    assert run("quoted_programs", tmp_path, "docs/a.md", page.format("int b;"))


def test_every_rule_has_a_violation_here():
    assert {rule.__name__ for rule in rules.RULES} == {rule for rule, _, _ in VIOLATIONS}
