"""The project's own rules, each a function from a tree to its findings ("path:line: what is wrong").

CONTRIBUTING.md says why they exist. `test_rules.py` holds the project to them; `test_rules_bite.py` plants a
violation of each in an empty tree and sees it found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

CPP = (".cpp", ".hpp")
MOST_LINES = 450

# What each folder may include besides itself: lower floors only, and no sibling (docs/architecture.md).
FLOORS = {
    "src/base": set(),
    "src/os": {"base"},
    "src/wire": {"base"},
    "src/store": {"base"},
    "src/core": {"base"},
    "src/testing": {"base"},
    "src/worker": {"base", "os", "wire"},
    "src/pool": {"base", "os", "wire", "store", "core", "worker"},
    "src/dspy": {"base"},  # and the public headers: it knows a pool as its users do
    # The demo is an example, and so is what `bench` echoes; `doctor` looks at what a pool would look at.
    "apps/lair": {
        "base",
        "os",
        "worker",
        "pool/environment.hpp",
        "../../examples/code_metrics.cpp",
        "../../examples/progress.hpp",
        "../../examples/worker_file.hpp",
    },
    "apps/lair-keeper": {"base", "os", "worker/keeper_protocol.hpp"},
    "examples": set(),
    "include/lair": set(),
}
# The public headers of floor 3; the others are values that every floor may use.
UPPER_HEADERS = {"lair/pool.hpp", "lair/lease.hpp", "lair/session.hpp", "lair/router.hpp"}
LOWER_FOLDERS = {"src/base", "src/os", "src/wire", "src/store", "src/testing", "src/core", "src/worker"}

# The only places that make process and descriptor system calls.
SYSCALL_FOLDERS = ("src/os/", "apps/lair-keeper/")
SYSCALLS = (
    "read|readv|write|writev|pread|pwrite|recv|recvmsg|send|sendmsg|poll|ppoll|epoll_\\w+|open|openat|close|dup|dup2|dup3"
    "|pipe|pipe2|socket|socketpair|accept4?|fcntl|ioctl|kill|killpg|wait|waitid|waitpid|eventfd|memfd_create|pidfd_\\w+"
    "|mmap|munmap|syscall|exec\\w*|posix_spawnp?|prctl"
)


def files(root: Path, *folders: str, suffixes: tuple[str, ...] = CPP) -> Iterator[tuple[str, str]]:
    """Path (relative, with slashes) and text of each file in these folders, in order."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            hidden = any(part.startswith((".", "__")) for part in path.relative_to(root).parent.parts)
            if path.is_file() and path.suffix in suffixes and not hidden:
                yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8", errors="replace")


def without_comments_and_strings(text: str) -> str:
    """The same lines, with comments and the insides of literals blanked."""
    pattern = re.compile(r'R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
    return pattern.sub(lambda found: '""' + "\n" * found.group().count("\n"), text)


def matches(root: Path, pattern: str, why: str, *folders: str, but: tuple[str, ...] = ()) -> Iterator[str]:
    for path, text in files(root, *folders):
        if path.startswith(but):
            continue
        for number, line in enumerate(without_comments_and_strings(text).split("\n"), 1):
            if found := re.search(pattern, line):
                yield f"{path}:{number}: {found.group().strip()}: {why}"


def floors(root: Path) -> Iterator[str]:
    for folder, allowed in FLOORS.items():
        own = folder.split("/", 1)[-1]
        for path, text in files(root, folder):
            for number, line in enumerate(text.split("\n"), 1):
                include = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
                if not include:
                    continue
                bracket, target = include.groups()
                if target in UPPER_HEADERS and folder in LOWER_FOLDERS:
                    yield f"{path}:{number}: <{target}> is of a higher floor"
                if target.startswith("lair/dspy") and folder in {*LOWER_FOLDERS, "src/pool"}:
                    yield f"{path}:{number}: <{target}> is of a higher floor"
                if bracket == "<" or target.startswith("lair/"):
                    continue
                top = target.split("/")[0]
                if folder == "include/lair":
                    yield f'{path}:{number}: "{target}": a public header includes <…> only'
                elif "/" in target and top != own and top not in allowed and target not in allowed:
                    yield f'{path}:{number}: "{target}": {folder} may not include it'


def no_fork(root: Path) -> Iterator[str]:
    why = "only lair-keeper makes processes by fork"
    yield from matches(root, r"\bv?fork\s*\(", why, "include", "src", "apps", but=("apps/lair-keeper/",))


def no_process_wide_effects(root: Path) -> Iterator[str]:
    why = "the library changes nothing process-wide and runs no shell"
    calls = r"(?<![\w.>:])(?:std::|::)?(?:system|popen|sigaction|chdir|fchdir|setenv|unsetenv|putenv)\s*\("
    # `signal` is also the name of a member function; the C one is known by its qualification or argument.
    signal = r"(?<!\w)::signal\s*\(|std::signal\s*\(|\bsignal\s*\(\s*SIG"
    yield from matches(root, f"{calls}|{signal}", why, "include", "src")


def no_sleep(root: Path) -> Iterator[str]:
    why = "wait for a condition with a deadline, or use the fake clock"
    sleeps = r"\b(?:sleep_for|sleep_until|usleep|nanosleep|clock_nanosleep)\b|(?<![\w.>])::sleep\s*\("
    # The one helper of the tests that polls a condition, the control thread of the fault rows, which does
    # nothing else, and the wait for a kernel that is out of memory.
    but = ("tests/support/", "tests/faults/row.cpp", "src/os/wait.cpp")
    yield from matches(root, sleeps, why, "include", "src", "apps", "tests", but=but)


def no_printing(root: Path) -> Iterator[str]:
    why = "the library logs; it does not print"
    yield from matches(
        root, r"std::(?:cout|cerr|clog)\b|(?<!\w)(?:printf|puts|putchar)\s*\(", why, "include", "src"
    )


def no_stray_syscalls(root: Path) -> Iterator[str]:
    why = "system calls live in src/os and apps/lair-keeper"
    yield from matches(
        root, rf"(?<![\w>])::(?:{SYSCALLS})\s*\(", why, "include", "src", "apps", but=SYSCALL_FOLDERS
    )


def short_files(root: Path) -> Iterator[str]:
    folders = ("include", "src", "apps", "tests", "examples", "bench", "tools", "python", "cmake")
    for path, text in files(root, *folders, suffixes=(*CPP, ".py", ".sh", ".cmake", ".c")):
        lines = text.count("\n")
        if lines > MOST_LINES:
            yield f"{path}:{lines}: more than {MOST_LINES} lines; a file tells one story"


def prose_first(root: Path) -> Iterator[str]:
    for path, text in files(root, "include", "src", suffixes=(".hpp",)):
        if not text.startswith("// "):
            yield f"{path}:1: a header begins with what it is for"


def no_machine_paths(root: Path) -> Iterator[str]:
    # Spelt so that this line does not find itself.
    pattern = re.compile(r"(?<![\w.$}])/(?:work|home|root|Users)" + "/")
    folders = (
        ".ci",
        "apps",
        "bench",
        "cmake",
        "docs",
        "examples",
        "include",
        "python",
        "src",
        "tests",
        "tools",
    )
    suffixes = (*CPP, ".c", ".py", ".sh", ".md", ".cmake", ".in", ".json", ".toml", ".txt", "")
    singles = [
        (path.name, path.read_text(encoding="utf-8")) for path in sorted(root.glob("*"))
        if path.is_file() and path.name != ".git"  # a worktree's, which git writes
    ]
    for path, text in [*files(root, *folders, suffixes=suffixes), *singles]:
        for number, line in enumerate(text.split("\n"), 1):
            if pattern.search(line):
                yield f"{path}:{number}: a path of somebody's machine"


def changelog(root: Path) -> Iterator[str]:
    page = root / "CHANGELOG.md"
    if not page.is_file() or "\n## [Unreleased]\n" not in page.read_text(encoding="utf-8"):
        yield "CHANGELOG.md:1: missing, or without '## [Unreleased]'"


def links_lead_somewhere(root: Path) -> Iterator[str]:
    pages = [
        *files(root, "docs", suffixes=(".md",)),
        *((p.name, p.read_text("utf-8")) for p in sorted(root.glob("*.md"))),
    ]
    for path, text in pages:
        for number, line in enumerate(text.split("\n"), 1):
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", line):
                if "://" not in target and not (root / path).parent.joinpath(target).exists():
                    yield f"{path}:{number}: there is no {target}"


def decisions_are_indexed(root: Path) -> Iterator[str]:
    index = root / "docs/adr/README.md"
    listed = index.read_text(encoding="utf-8") if index.is_file() else ""
    for path, _ in files(root, "docs/adr", suffixes=(".md",)):
        name = path.rsplit("/", 1)[-1]
        if name != "README.md" and f"({name})" not in listed:
            yield f"{path}:1: not listed in docs/adr/README.md"


def error_kinds_are_explained(root: Path) -> Iterator[str]:
    header, page = "include/lair/error.hpp", "docs/troubleshooting.md"
    places = (root / header, root / page)
    code, prose = (place.read_text(encoding="utf-8") if place.is_file() else "" for place in places)
    declared = re.search(r"enum class ErrorKind[^{]*\{(.*?)\};", code, re.DOTALL)
    kinds = set(re.findall(r"^\s*(k\w+)", declared[1], re.MULTILINE)) if declared else set()
    explained = set(re.findall(r"^## (k\w+)$", prose, re.MULTILINE))
    for kind in sorted(kinds - explained):
        yield f"{header}:1: {kind} has no section in {page}"
    for kind in sorted(explained - kinds):
        yield f"{page}:1: there is no {kind}"


QUOTED = re.compile(r"^<!-- (examples/\S+) -->\n(?:```\w+\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def quoted_programs(root: Path) -> Iterator[str]:
    """A block of code below `<!-- examples/NAME -->` is a part of that file, or all of it."""
    for path, text in files(root, "docs", suffixes=(".md",)):
        for found in QUOTED.finditer(text):
            source = root / found[1]
            number = text.count("\n", 0, found.start()) + 1
            if not found[2]:
                yield f"{path}:{number}: no block of code follows"
            elif not source.is_file() or found[2] not in source.read_text(encoding="utf-8"):
                yield f"{path}:{number}: this is not what {found[1]} says"


RULES: list[Callable[[Path], Iterator[str]]] = [
    floors,
    no_fork,
    no_process_wide_effects,
    no_sleep,
    no_printing,
    no_stray_syscalls,
    short_files,
    prose_first,
    no_machine_paths,
    changelog,
    links_lead_somewhere,
    decisions_are_indexed,
    error_kinds_are_explained,
    quoted_programs,
]
