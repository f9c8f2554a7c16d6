"""The files that a worker's code is in, for a host that watches them: its offer has asked for ``files``."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_INSTALLED = {"site-packages", "dist-packages"}


def code_files(error: BaseException | None = None) -> list[str]:
    """Of all modules that are imported by now, but for Python's own, the SDK's and what is installed.

    With the error that ended an import also those that it names: what fails is not in ``sys.modules``.
    """
    skipped = _skipped()
    found = {}  # in order, each once
    for name in [*_of_modules(), *_of_error(error)]:
        path = os.path.abspath(name)
        if path in found or path.startswith(skipped) or not _INSTALLED.isdisjoint(path.split(os.sep)):
            continue
        try:
            path.encode()
        except UnicodeEncodeError:  # a name that JSON can't have
            continue
        if os.path.isfile(path):
            found[path] = True
    return list(found)


def _skipped() -> tuple[str, ...]:
    library = os.path.dirname(os.__file__)
    version = os.path.basename(library)
    folders = {library, os.path.dirname(__file__)}
    for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix):
        folders.add(os.path.join(prefix, sys.platlibdir, version))
    return tuple(os.path.join(os.path.abspath(folder), "") for folder in folders)


def _of_modules() -> Iterator[str]:
    for module in list(sys.modules.values()):
        try:
            # Not getattr: a module that is to be loaded when it is first used would be.
            name = object.__getattribute__(module, "__dict__").get("__file__")
        except AttributeError:
            continue
        if isinstance(name, str):
            yield name


def _of_error(error: BaseException | None) -> Iterator[str]:
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, SyntaxError) and error.filename:
            yield error.filename
        trace = error.__traceback__
        while trace is not None:
            yield trace.tb_frame.f_code.co_filename
            trace = trace.tb_next
        error = error.__cause__ or error.__context__
