"""The manual page names what there is."""

from __future__ import annotations

import re

from conftest import ROOT

MANUAL = (ROOT / "apps/lair/lair.1").read_text()


def test_it_has_every_subcommand(lair):
    listed = lair("--help").stdout.split("Subcommands:")[1].split("\n\n")[0]
    subcommands = re.findall(r"^  (\w+)", listed, re.MULTILINE)
    assert len(subcommands) >= 5
    assert re.findall(r"^\.TP\n\.B (\w+)$", MANUAL, re.MULTILINE) == subcommands
