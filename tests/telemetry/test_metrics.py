"""The page that a real program's pools make is one that Prometheus takes."""

from __future__ import annotations

import re

from conftest import ROOT, promtool


def value(page: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", page, re.MULTILINE)
    assert found, f"{series} is not in\n{page}"
    return float(found.group(1))


def test_promtool_has_nothing_to_say_against_the_page(page):
    done = promtool("check", "metrics", stdin=page)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr == ""


def test_promtool_would_have_something_to_say(page):
    twice = promtool("check", "metrics", stdin=page + page)
    assert twice.returncode != 0


def test_every_family_is_in_the_docs_and_no_other(page):
    families = set(re.findall(r"^# TYPE (\w+) ", page, re.MULTILINE))
    page_of_docs = (ROOT / "docs/telemetry.md").read_text("utf-8")
    assert families == set(re.findall(r"^\| `(lair_\w+)", page_of_docs, re.MULTILINE))


def test_every_series_has_its_pool_and_none_a_process(page):
    series = [line for line in page.splitlines() if not line.startswith("#")]
    assert series
    assert all(re.match(r'\w+\{pool="', line) for line in series)
    labels = {name for line in series for name in re.findall(r'(\w+)="', line)}
    assert labels == {"pool", "state", "command", "outcome", "reason", "le", "version"}


def test_the_counts_are_those_of_what_the_program_did(page):
    assert value(page, 'lair_calls_total{pool="text",command="add",outcome="ok"}') == 20
    assert value(page, 'lair_calls_total{pool="text",command="nap",outcome="timeout"}') == 1
    assert value(page, 'lair_call_duration_seconds_count{pool="text",command="add",outcome="ok"}') == 20
    assert value(page, 'lair_worker_exits_total{pool="text",reason="timeout"}') == 1
    assert value(page, 'lair_workers{pool="text",state="idle"}') == 2
    assert value(page, 'lair_calls_inflight{pool="text"}') == 0
    # Two pools of one name are one.
    assert value(page, 'lair_calls_total{pool="twin",command="add",outcome="ok"}') == 2
    assert value(page, 'lair_pool_size{pool="twin"}') == 2
