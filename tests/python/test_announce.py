"""What the handshake says about commands, checked against inspect.signature."""

from __future__ import annotations

import functools
import inspect

import pytest

INSPECT_KINDS = ["positional_only", "positional_or_keyword", "var_positional", "keyword_only", "var_keyword"]


@pytest.fixture(scope="module")
def announce():
    from lair_worker import _announce

    return _announce


class Holder:
    def method(self, a, b=1):
        """Adds."""

    @classmethod
    def of_class(cls, a: int): ...

    @staticmethod
    def static(a): ...

    def __call__(self, x, *, y=2): ...


def wrapped(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs): ...

    return wrapper


class WithSignature:
    __signature__ = inspect.Signature([inspect.Parameter("q", inspect.Parameter.KEYWORD_ONLY, default=3)])
    __name__ = "with_signature"

    def __call__(self, *args, **kwargs): ...


def nothing(): ...
def positional(a, b, c=1, d="x"): ...
def everything(a, b=1, /, c=2, *rest, d, e=5, **more): ...
def keyword_only(*, a, b=None): ...
def starred(*args, **kwargs): ...
def only_kwargs(a, **kwargs): ...
def annotated(text: str, top: int | None = None, *rest: float, flag: list[int] = [], **kw: Holder) -> int: ...  # noqa: B006


FUNCTIONS = [
    nothing,
    positional,
    everything,
    keyword_only,
    starred,
    only_kwargs,
    annotated,
    lambda x, y=1: x,
    Holder().method,
    Holder.of_class,
    Holder.static,
    Holder(),
    wrapped(everything),
    wrapped(wrapped(positional)),
    wrapped(Holder().method),
    functools.partial(positional, 1),
    functools.lru_cache(positional),
    WithSignature(),
    len,
    sorted,
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: getattr(f, "__qualname__", repr(f))[:30])
def test_parameters_are_those_of_the_signature(announce, function):
    expected = []
    for each in inspect.signature(function).parameters.values():
        entry = {"name": each.name, "kind": INSPECT_KINDS[each.kind]}
        entry["required"] = each.default is each.empty and not entry["kind"].startswith("var_")
        if each.default is not each.empty:
            entry["default"] = repr(each.default)
        if each.annotation is not each.empty:
            entry["annotation"] = each.annotation if isinstance(each.annotation, str) else "int"
        expected.append(entry)
    assert announce.parameters(function) == expected


class WithoutSignature:
    __signature__ = "none"

    def __call__(self, a): ...


def test_a_callable_without_a_signature_takes_anything(announce):
    kinds = [parameter["kind"] for parameter in announce.parameters(WithoutSignature())]
    assert kinds == ["var_positional", "var_keyword"]
    assert announce.fits(WithoutSignature(), [1, 2, 3], {}) and announce.accepts(
        WithoutSignature(), "session_id"
    )
    assert announce.signature_text(WithoutSignature(), "f") is None


@pytest.mark.parametrize(
    ("function", "accepted"),
    [
        (lambda session_id: 0, True),
        (lambda *, session_id=None: 0, True),
        (lambda **kw: 0, True),
        (lambda x: 0, False),
        (lambda *session_id: 0, False),
        (eval("lambda session_id, /: 0"), False),
        (wrapped(positional), False),
        (wrapped(starred), True),
    ],
)
def test_who_accepts_a_session(announce, function, accepted):
    assert announce.accepts(function, "session_id") is accepted


def test_docs_defaults_and_annotations_through_a_worker(start):
    worker = start(
        '''
        import typing, lair_worker as lair
        class Odd:
            def __repr__(self): raise RuntimeError
        class Half:
            def __repr__(self): return "half \\ud800"
        class Thing: pass

        @lair.command
        def documented(a: int, b: str = "x", c: typing.List[int] = [], d: Thing = None, e: "later" = 1.5):
            """

            Counts words.\x20\x20

            More text.
            """

        @lair.command
        def undocumented(odd=Odd(), half=Half(), long="y" * 1000): pass

        lair.command(Thing().__init__, name="inherited")
        '''
    )
    first, second, third = worker.greet()["lair"]["commands"]
    assert first["doc"] == "Counts words." and second["doc"] == "" and isinstance(third["doc"], str)
    assert first["kind"] == "call"
    assert [parameter.get("annotation") for parameter in first["params"]] == [
        "int",
        "str",
        "List[int]",
        "mod.Thing",
        "later",
    ]
    assert [parameter.get("default") for parameter in first["params"]] == [None, "'x'", "[]", "None", "1.5"]
    assert [parameter["required"] for parameter in first["params"]] == [True, False, False, False, False]
    odd, half, long = (parameter["default"] for parameter in second["params"])
    assert odd == "<mod.Odd>" and half == "half \\ud800" and len(long) < 250


def test_commands_come_in_the_order_of_their_definition(start):
    source = "import lair_worker as lair\n" + "".join(
        f"@lair.command\ndef c{number}(): pass\n" for number in (3, 1, 2)
    )
    assert [each["name"] for each in start(source).greet()["lair"]["commands"]] == ["c3", "c1", "c2"]
