"""The programs of bench/: what they refuse, and how their results are put together and shown."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as xml

import pytest
from conftest import ROOT

REPORT = ROOT / "bench/report.py"


def row(name, cores="one", **more):
    fixed = {"value": 2.0, "unit": "us", "ratio": 1.5, "of": "floor", "low": 1.25, "high": 1.75, "rounds": 20}
    return {"name": name, "cores": cores, **fixed, **more}


def report(*arguments):
    return subprocess.run([sys.executable, REPORT, *arguments], capture_output=True, text=True)


@pytest.fixture
def results(tmp_path):
    facts = {"date": "2026-01-02", "cpu": "Abacus", "cores": 2, "kernel": "6", "python": "3.11.2",
             "compiler": "g++ 12", "load_at_the_start": 0.25}  # fmt: skip
    calls = [row("p50_call"), row("p50_call", "all", value=12345.0), row("p50_executor", ratio=None, of=None)]
    for program, rows in {"calls": calls, "spine": [row("demo", "all")]}.items():
        text = json.dumps({"lair": "1.2.3", "machine": facts, "rows": rows})
        (tmp_path / f"{program}.json").write_text(text)
    done = report("merge", tmp_path / "all.json", tmp_path / "calls.json", tmp_path / "spine.json")
    assert done.returncode == 0, done.stderr
    return tmp_path / "all.json"


def test_one_file_from_all_programs(results):
    merged = json.loads(results.read_text())
    assert merged["lair"] == "1.2.3" and merged["machine"]["cpu"] == "Abacus"
    assert [(each["program"], each["name"]) for each in merged["rows"]] == [
        ("calls", "p50_call"), ("calls", "p50_call"), ("calls", "p50_executor"), ("spine", "demo"),
    ]  # fmt: skip


def test_the_page_gets_its_tables_and_plots(results, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("".join(f"before {each}\n<!-- {each}: begin -->\nold\n<!-- {each}: end -->\n"
                            for each in ("machine", "calls", "spine")))
    for _ in range(2):  # the second time over its own result
        assert report("page", results, page).returncode == 0
    text = page.read_text()
    assert "old" not in text and "before spine" in text
    assert "2 cores of an Abacus (load before the start: 0.2)" in text
    assert "| `p50_call` | us | 2 | 1.50 (1.25–1.75) | 12,345 | 1.50 (1.25–1.75) | floor |" in text
    assert "| `p50_executor` | us | 2 |  |  |  |  |" in text
    assert "| `demo` | us |  |  | 2 | 1.50 (1.25–1.75) | floor |" in text
    for name in ("latency", "throughput"):
        assert xml.parse(tmp_path / f"page/{name}.svg").getroot().tag.endswith("svg")
    assert "12,345" in (tmp_path / "page/latency.svg").read_text()


def test_a_page_without_the_markers_is_refused(results, tmp_path):
    (tmp_path / "page.md").write_text("nothing\n")
    done = report("page", results, tmp_path / "page.md")
    assert done.returncode == 1 and "<!-- machine: begin -->" in done.stderr


@pytest.mark.parametrize("program", ["calls", "inflight", "map", "sessions", "spine"])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--fast", "3"], "option --fast"), (["--rounds", "0"], "--rounds"), (["--out"], "--out takes")],
)
def test_wrong_options(programs, program, arguments, named):
    done = programs.run(*arguments, program=program)
    assert done.returncode == 2
    assert named in done.stderr and "usage:" in done.stderr


def test_dev_bench_refuses_what_it_does_not_know():
    done = subprocess.run([ROOT / "dev", "bench", "--fast"], capture_output=True, text=True)
    assert done.returncode == 2 and "--fast" in done.stderr
