"""The Debian packages: what they hold and ask for, and whether they work from a scratch root."""

from __future__ import annotations

import gzip
import re

import pytest
from conftest import DSPY_FILES, ROOT, SDK_FILES, VERSION, run


def field(package, name: str) -> str:
    return run("dpkg-deb", "--field", package, name).stdout.strip()


def contents(package) -> dict[str, str]:
    """Path and permissions-with-owner of each entry."""
    found = {}
    for line in run("dpkg-deb", "--contents", package).stdout.splitlines():
        mode, owner, _, _, _, path = line.split(maxsplit=5)
        found[path.removeprefix(".").split(" -> ")[0]] = f"{mode} {owner}"
    return found


@pytest.fixture(scope="module")
def root(packages, tmp_path_factory):
    """Both packages, unpacked where no package manager knows of them."""
    folder = tmp_path_factory.mktemp("root")
    for package in packages.values():
        run("dpkg-deb", "--extract", package, folder)
    return folder


def test_their_names_and_versions(packages):
    machine = run("dpkg", "--print-architecture").stdout.strip()
    assert {path.name for path in packages.values()} == {
        f"lair_{VERSION}_{machine}.deb",
        f"liblair-dev_{VERSION}_{machine}.deb",
    }
    for name, path in packages.items():
        assert (field(path, "Package"), field(path, "Version")) == (name, VERSION)
        assert re.fullmatch(r".+ <\S+@\S+>", field(path, "Maintainer"))
        assert not field(path, "Description").lower().startswith(("a ", "the ", name))


def test_what_they_depend_on(packages):
    needed = field(packages["lair"], "Depends")
    assert "python3 (>= 3.9)" in needed
    # By dpkg-shlibdeps, from the programs.
    for library in ("libc6", "libstdc++6", "libspdlog1", "libsqlite3-0"):
        assert library in needed
    assert "-dev" not in needed
    development = field(packages["liblair-dev"], "Depends")
    assert development.startswith(f"lair (= {VERSION}), nlohmann-json3-dev")
    assert "libspdlog-dev" in development and "libsqlite3-dev" in development


def test_what_they_hold(packages):
    runtime, development = contents(packages["lair"]), contents(packages["liblair-dev"])
    assert runtime["/usr/bin/lair"] == runtime["/usr/libexec/lair/lair-keeper"] == "-rwxr-xr-x root/root"
    for package, files in (("lair_worker", SDK_FILES), ("lair_dspy", DSPY_FILES)):
        place = f"/usr/share/lair/python/{package}/"
        assert {path.removeprefix(place) for path in runtime if path.startswith(place)} == {"", *files}
    assert all("/include" not in path and "/lib/" not in path for path in runtime)
    machine = run("gcc", "-print-multiarch").stdout.strip()
    for path in ("liblair.a", "cmake/lair/lairConfig.cmake", "pkgconfig/lair.pc"):
        assert f"/usr/lib/{machine}/{path}" in development
    for path, mode in {**runtime, **development}.items():
        assert mode.endswith("root/root") and mode[8] != "w", path  # nobody else may write


def test_each_has_its_licence_and_changes(packages, root):
    for name in packages:
        text = (root / f"usr/share/doc/{name}/copyright").read_text()
        assert "Apache-2.0" in text and "/usr/share/common-licenses/Apache-2.0" in text
        changes = gzip.decompress((root / f"usr/share/doc/{name}/changelog.gz").read_bytes())
        assert changes.startswith(f"lair ({VERSION}) unstable; urgency=medium\n\n  * ".encode())
        news = gzip.decompress((root / f"usr/share/doc/{name}/NEWS.gz").read_bytes())
        assert news == (ROOT / "CHANGELOG.md").read_bytes()


def test_they_work_unpacked(root, module):
    done = run(root / "usr/bin/lair", "call", "--module", module, "where")
    assert done.stdout == f'"{root}/usr/share/lair/python/lair_worker/__init__.py"\n'


def test_the_programs_are_stripped(root):
    for program in ("usr/bin/lair", "usr/libexec/lair/lair-keeper"):
        assert ".debug_info" not in run("readelf", "--section-headers", root / program).stdout
    (archive,) = root.glob("usr/lib/*/liblair.a")
    assert ".debug_info" not in run("readelf", "--section-headers", archive).stdout
