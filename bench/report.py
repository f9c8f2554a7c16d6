"""Puts the JSON of several bench programs together, and shows it.

report.py merge OUT PART...      one file from those of the programs
report.py page RESULTS PAGE      writes PAGE's tables, between its markers, and the plots beside it
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.sax.saxutils import escape

CORES = {"one": "one core", "all": "all cores"}
COLOURS = {"one": "#4c78a8", "all": "#9ecae9"}

# What the plots show, and what each bar is called.
LATENCY = {
    "p50_bare_bytes": "raw bytes, bare loop",
    "p50_bare_json": "JSON, bare loop",
    "p50_lair": "Lair, with the accelerator",
    "p50_call": "Lair",
    "p50_pybind11": "pybind11, in the program",
    "p50_elixir_direct": "Elixir, caller on the port",
    "p50_elixir_owned": "Elixir, port of a GenServer",
    "p50_pyzmq": "pyzmq, REQ and REP",
    "p50_multiprocessing": "multiprocessing.Pool",
    "p50_executor": "ProcessPoolExecutor",
    "p50_loky": "loky",
    "p50_grpc": "gRPC",
    "p50_ray": "Ray actors",
}
THROUGHPUT = {
    "empty_bare_4": "4 bare loops",
    "empty_4_lair": "Lair, with the accelerator",
    "empty_callers_4_workers_4": "Lair",
    "empty_4_elixir_direct": "Elixir, caller on the port",
    "empty_4_elixir_owned": "Elixir, port of a GenServer",
    "empty_4_pyzmq": "pyzmq, REQ and REP",
    "empty_4_multiprocessing": "multiprocessing.Pool",
    "empty_4_executor": "ProcessPoolExecutor",
    "empty_4_loky": "loky",
    "empty_4_grpc": "gRPC",
    "empty_4_ray": "Ray actors",
}  # Not pybind11: so quick that the others' bars would be too short to see.


def merge(out: str, parts: list[str]) -> None:
    merged: dict = {}
    for part in parts:
        results = json.loads(Path(part).read_text(encoding="utf-8"))
        rows = [{"program": Path(part).stem, **row} for row in results.pop("rows")]
        merged = {**results, **merged, "rows": [*merged.get("rows", []), *rows]}
    Path(out).write_text(json.dumps(merged, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(rows: list[dict]) -> str:
    """One line a row; both placements side by side."""
    lines = [
        "| row | unit | one core | ratio | all cores | ratio | to |",
        "|---|---|---|---|---|---|---|",
    ]
    names = list(dict.fromkeys(row["name"] for row in rows))
    for name in names:
        placed = {row["cores"]: row for row in rows if row["name"] == name}
        some = next(iter(placed.values()))
        cells = [name.join("``"), some["unit"]]
        for cores in CORES:
            row = placed.get(cores)
            cells.append(number(row["value"]) if row else "")
            has_ratio = row and row["ratio"] is not None
            cells.append(f"{row['ratio']:.2f} ({row['low']:.2f}–{row['high']:.2f})" if has_ratio else "")
        cells.append(some["of"] or "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine(results: dict) -> str:
    facts = results["machine"]
    return (
        f"Measured on {facts['date']} with Lair {results['lair']}, Python {facts['python']}, "
        f"{facts['compiler']}, Linux {facts['kernel']}, {facts['cores']} cores of an {facts['cpu']} "
        f"(load before the start: {facts['load_at_the_start']:.1f})."
    )


def bars(title: str, labels: dict[str, str], rows: list[dict]) -> str:
    """Horizontal bars, a pair for each label, as SVG."""
    left, width, bar, gap, top = 190, 400, 13, 12, 48
    values = {(row["name"], row["cores"]): row["value"] for row in rows}
    most = max(values.get((name, cores), 0) for name in labels for cores in CORES)
    height = top + len(labels) * (2 * bar + gap) + 6
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="8" y="18" font-weight="bold">{escape(title)}</text>',
    ]
    for index, (cores, label) in enumerate(CORES.items()):
        x = 8 + 90 * index
        parts.append(f'<rect x="{x}" y="27" width="10" height="10" fill="{COLOURS[cores]}"/>')
        parts.append(f'<text x="{x + 14}" y="36">{label}</text>')
    y = top
    for name, label in labels.items():
        parts.append(f'<text x="{left - 8}" y="{y + bar + 4}" text-anchor="end">{escape(label)}</text>')
        for cores in CORES:
            value = values.get((name, cores))
            if value is not None:
                end = left + max(1.0, value / most * width)
                size = f'width="{end - left:.1f}" height="{bar}"'
                parts.append(f'<rect x="{left}" y="{y}" {size} fill="{COLOURS[cores]}"/>')
                place = f'x="{end + 5:.1f}" y="{y + bar - 2}"'
                parts.append(f'<text {place} font-size="11">{number(value)}</text>')
            y += bar
        y += gap
    return "\n".join([*parts, "</svg>", ""])


def between(text: str, marker: str, new: str) -> str:
    begin, end = f"<!-- {marker}: begin -->", f"<!-- {marker}: end -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        sys.exit(f"report.py: the page has no {begin} … {end}")
    return f"{before}{begin}\n{new}\n{end}{after}"


def page(results_file: str, page_file: str) -> None:
    results = json.loads(Path(results_file).read_text(encoding="utf-8"))
    rows = results["rows"]
    path = Path(page_file)
    text = between(path.read_text(encoding="utf-8"), "machine", machine(results))
    for program in dict.fromkeys(row["program"] for row in rows):
        text = between(text, program, table([row for row in rows if row["program"] == program]))
    path.write_text(text, encoding="utf-8")
    plots = path.with_suffix("")
    plots.mkdir(exist_ok=True)
    latency = bars("A call of an empty command, one caller: median, µs (less is better)", LATENCY, rows)
    (plots / "latency.svg").write_text(latency, encoding="utf-8")
    throughput = bars("Empty calls a second, 4 callers, 4 workers (more is better)", THROUGHPUT, rows)
    (plots / "throughput.svg").write_text(throughput, encoding="utf-8")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["merge", out, *parts] if parts:
            merge(out, parts)
        case ["page", results_file, page_file]:
            page(results_file, page_file)
        case _:
            sys.exit(__doc__)
