"""Which functions become commands, and which modules and files are found."""

from __future__ import annotations

import os

import pytest

from host import INTERPRETER


def names(worker):
    return [command["name"] for command in worker.greet()["lair"]["commands"]]


PLAIN = """
    from os.path import join
    import lair_worker as lair, functools
    from math import sqrt

    def logged(function):
        @functools.wraps(function)
        def wrapper(*args): return function(*args)
        return wrapper

    def one(): return 1
    def _private(): pass
    def __dunder(): pass
    async def coroutine(): pass
    def generator(): yield 1
    async def both(): yield 1
    class Thing: pass
    value = 3
    two = logged(one)
    three = functools.lru_cache(one)
    alias = join
    small = lambda: 0

    @lair.on_start
    def started(): pass
    @lair.on_stop
    def stopped(): pass
"""


def test_a_plain_module_offers_its_public_functions(start):
    assert names(start(PLAIN)) == [
        "logged",
        "one",
        "coroutine",
        "generator",
        "both",
        "two",
        "three",
        "small",
    ]


def test_all_decides_where_there_is_one(start):
    source = PLAIN + '\n    __all__ = ["_private", "sqrt", "one", "Thing", "value", "generator", "started"]\n'
    assert names(start(source)) == ["_private", "sqrt", "one", "generator"]


def test_a_wrong_name_in_all_fails_the_start(start):
    worker = start('__all__ = ["missing"]')
    reply = worker.handshake(worker.offer())
    assert reply["stage"] == "environment" and "missing" in reply["error"]


def test_one_decorated_function_switches_discovery_off(start):
    worker = start(PLAIN + "\n    @lair.command\n    def chosen(): pass\n")
    assert names(worker) == ["chosen"]


def test_decorated_functions_of_imported_modules_count(start, tmp_path):
    (tmp_path / "other.py").write_text("import lair_worker\n@lair_worker.command\ndef from_other(): pass\n")
    assert names(start("import other\ndef plain(): pass")) == ["from_other"]


@pytest.mark.parametrize("source", ["", "x = 1", "import lair_worker as l\n@l.on_start\ndef f(): pass"])
def test_a_module_without_commands_fails_the_start(start, source):
    worker = start(source)
    reply = worker.handshake(worker.offer())
    assert reply["stage"] == "environment" and reply["permanent"] is True
    assert "mod has no commands" in reply["error"]
    assert worker.wait() == 1


def test_a_scripts_public_functions_are_commands(start):
    worker = start("import lair_worker\ndef f(): return 5\nlair_worker.serve()", script=True)
    assert names(worker) == ["f"]
    assert worker.call("f") == 5


def test_the_current_directory_comes_first(start, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mod.py").write_text("def far(): pass")
    path = f"{os.environ.get('PYTHONPATH', '')}"
    worker = start("def near(): pass", env={"PYTHONPATH": f"{_sdk()}:{tmp_path / 'elsewhere'}:{path}"})
    assert names(worker) == ["near"]


def test_dotted_names_and_packages(start, tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("from .inner import g\ndef f(): pass\n")
    (tmp_path / "pack" / "inner.py").write_text("def g(): pass\n")
    assert names(start(argv=["-m", "lair_worker", "pack"])) == ["f"]
    assert names(start(argv=["-m", "lair_worker", "pack.inner"])) == ["g"]


@pytest.mark.parametrize(
    "path", ["jobs/my-worker.py", "./jobs/my-worker.py", "{tmp}/jobs/my-worker.py", "jobs/no_suffix"]
)
def test_a_file_is_served_with_its_folder_in_the_search_path(start, tmp_path, path):
    (tmp_path / "jobs").mkdir()
    source = "from beside import helper\ndef f(): return [helper(), __name__]\n"
    (tmp_path / "jobs" / "my-worker.py").write_text(source)
    (tmp_path / "jobs" / "no_suffix").write_text(source)
    (tmp_path / "jobs" / "beside.py").write_text("def helper(): return 'helped'\n")
    worker = start(argv=["-m", "lair_worker", path.format(tmp=tmp_path)])
    assert names(worker) == ["f"]
    assert worker.call("f")[0] == "helped" and worker.call("f")[1] != "__main__"


def test_a_file_may_have_the_name_of_a_loaded_module(start, tmp_path):
    (tmp_path / "os.py").write_text("def f(): return __import__('os').getpid()\n")
    worker = start(argv=["-m", "lair_worker", "./os.py"])
    worker.greet()
    assert worker.call("f") == worker.pid


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lair.command(5)", "takes a function"),
        ("lair.command(functools.partial(print))", "has no name"),
        ("lair.command(name='')(print)", "has no name"),
        ("lair.command(name='a')(len); lair.command(name='a')(abs)", "two commands are named 'a'"),
        ("lair.command(name='shutdown')(len)", "every worker has its own"),
        ("lair.command(may_await=True)(coroutine)", "may_await is said of a plain function"),
        ("lair.command(may_await=True, thread_safe=True)(len)", "may_await is said of a plain function"),
        ("lair.on_start(generator)", "generator or async def"),
        ("lair.on_start(5)", "a hook is a function"),
        ("lair.on_stop(coroutine)", "generator or async def"),
    ],
)
def test_wrong_declarations_fail_the_start_with_their_reason(start, line, message):
    source = (
        "import functools, lair_worker as lair\ndef generator(): yield\nasync def coroutine(): pass\n" + line
    )
    worker = start(source)
    reply = worker.handshake(worker.offer())
    assert reply["stage"] == "environment" and message in reply["error"]


def test_a_decorator_gives_the_function_back(start):
    worker = start(
        """
        import lair_worker as lair
        @lair.command
        def a(): return 1
        @lair.command(name="bee")
        def b(): return a() + 1
        @lair.command()
        def c(): return b() + 1
        """
    )
    assert names(worker) == ["a", "bee", "c"]
    assert worker.call("c") == 3


def test_a_file_imported_twice_declares_its_commands_once(start, tmp_path):
    source = "import lair_worker as lair\n@lair.command\ndef f(): return 1\nimport mod\n"
    worker = start(source + "if __name__ == '__main__': lair.serve()\n", script=True)
    assert names(worker) == ["f"]


def test_help_and_wrong_command_lines(start):
    import subprocess

    from host import worker_environment

    def run(*arguments):
        command = [INTERPRETER, "-m", "lair_worker", *arguments]
        return subprocess.run(
            command, env=worker_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )

    shown = run("--help")
    assert shown.returncode == 0 and "usage:" in shown.stdout and "--worker-id" in shown.stdout
    assert run("-h").stdout == shown.stdout
    assert run("--version").stdout == "lair-worker 0.1.0\n"
    for wrong in ([], ["--bogus", "mod"], ["a", "b"], ["--worker-id"], ["--mode", "x", "mod"]):
        done = run(*wrong)
        assert done.returncode == 2 and "usage:" in done.stderr and done.stdout == ""


def test_a_terminal_on_stdin_is_told_how_to_start_a_worker():
    import pty
    import subprocess

    from host import worker_environment

    ours, theirs = pty.openpty()
    command = [INTERPRETER, "-m", "lair_worker", "json"]
    done = subprocess.run(command, env=worker_environment(), stdin=theirs, capture_output=True, text=True)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2 and "terminal" in done.stderr


def _sdk():
    from host import PYTHON_DIR

    return PYTHON_DIR
