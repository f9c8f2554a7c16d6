"""What dspy_qa.cpp asks questions about: Python's licence, and what its modules say of themselves."""

from __future__ import annotations

import builtins
import importlib
import inspect
import os
from pathlib import Path

MODULES = [
    "argparse", "bisect", "calendar", "cmd", "collections", "colorsys", "configparser", "contextlib", "csv",
    "dataclasses", "difflib", "dis", "enum", "fnmatch", "fractions", "functools", "getpass", "glob", "gzip",
    "heapq", "html", "imaplib", "io", "ipaddress", "json", "keyword", "linecache", "logging", "mailbox",
    "mimetypes", "numbers", "operator", "pdb", "pickle", "pprint", "profile", "queue", "random", "sched",
    "shelve", "shlex", "shutil", "socketserver", "statistics", "string", "tarfile", "tempfile", "textwrap",
    "timeit", "token", "trace", "types", "uuid", "wave", "weakref", "webbrowser", "zipfile",
]  # fmt: skip


def passages(longest: int = 600) -> list[dict[str, str]]:
    """Each with a title and a text of at most so many characters."""
    found = []
    for name in MODULES:
        try:
            told = inspect.getdoc(importlib.import_module(name))
        except ImportError:
            continue
        if told:
            found.append({"title": name, "text": told[:longest]})
    licence = Path(os.__file__).parent / "LICENSE.txt"
    text = licence.read_text(encoding="utf-8") if licence.exists() else str(builtins.copyright)
    found += [{"title": "licence", "text": part[:longest]} for part in text.split("\n\n\n") if part.strip()]
    return found
