"""Measures Python source files. An ordinary module: the functions in __all__ are a worker's commands."""

from __future__ import annotations

import ast
import os
import platform
import sysconfig
import warnings

__all__ = ["list_files", "measure_file"]

# Text such as "\d" in old code is for its authors to mend, not for this worker's stderr.
warnings.simplefilter("ignore")

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# One more path each. Match statements are newer than the oldest Python that this runs on.
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension)
BRANCHES += (ast.match_case,) if hasattr(ast, "match_case") else ()


def list_files(most: int = 0) -> dict:
    """The .py files of Python's standard library, largest first; or an even sample of `most`."""
    root = sysconfig.get_path("stdlib")
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in ("site-packages", "dist-packages")]
        found += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    found.sort(key=lambda path: (-os.path.getsize(path), path))
    if 0 < most < len(found):
        found = [found[i * len(found) // most] for i in range(most)]
    return {"python": platform.python_version(), "root": root, "files": found}


def measure_file(path: str) -> dict:
    """Lines, classes, functions, and the ten most complex functions of one file."""
    with open(path, "rb") as file:
        source = file.read()
    tree = ast.parse(source, path)
    functions = []
    classes = 0
    scopes = [("", tree)]
    while scopes:
        prefix, scope = scopes.pop()
        for node in _within(scope):
            if isinstance(node, ast.ClassDef):
                classes += 1
            elif isinstance(node, FUNCTIONS):
                place = {"name": prefix + node.name, "file": path, "line": node.lineno}
                functions.append({**place, "complexity": _complexity(node)})
            else:
                continue
            scopes.append((f"{prefix}{node.name}.", node))
    functions.sort(key=lambda function: -function["complexity"])
    return {
        "lines": source.count(b"\n"),
        "classes": classes,
        "functions": len(functions),
        "most_complex": functions[:10],
    }


def _complexity(function: ast.AST) -> int:
    """McCabe's number: the independent paths through the function, without those of functions in it."""
    paths = 1
    for node in _within(function):
        if isinstance(node, BRANCHES):
            paths += 1
        elif isinstance(node, ast.BoolOp):
            paths += len(node.values) - 1
        if isinstance(node, ast.comprehension):
            paths += len(node.ifs)
    return paths


def _within(scope: ast.AST):
    """The nodes of a scope, including the classes and functions that it holds, but not what is in those."""
    waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.ClassDef, *FUNCTIONS)):
            waiting.extend(ast.iter_child_nodes(node))
