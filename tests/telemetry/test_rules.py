"""The alert rules are valid, and fire when they should."""

from __future__ import annotations

import re

from conftest import ROOT, promtool

RULES = ROOT / "deploy/prometheus/lair.rules.yml"
CASES = ROOT / "tests/telemetry/lair.rules.test.yml"


def test_the_rules_are_valid():
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_fire_when_they_should():
    done = promtool("test", "rules", str(CASES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_and_a_row_in_the_docs():
    alerts = set(re.findall(r"- alert: (\w+)", RULES.read_text("utf-8")))
    assert len(alerts) >= 3
    assert alerts == set(re.findall(r"alertname: (\w+)", CASES.read_text("utf-8")))
    assert alerts == set(re.findall(r"`(Lair\w+)`", (ROOT / "docs/telemetry.md").read_text("utf-8")))


def test_rules_use_only_metrics_that_exist(page):
    exist = set(re.findall(r"^# TYPE (\w+) ", page, re.MULTILINE))
    used = set(re.findall(r"\b(lair_\w+)", RULES.read_text("utf-8")))
    assert used
    assert used <= exist
