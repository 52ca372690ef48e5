"""Write what README shows of ``results.json``: its figures and the chart. ``make bench`` ends with this.

python benchmarks/publish.py
"""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
CHART = ROOT / "docs" / "images" / "speed.svg"
README = ROOT / "README.md"
BLOCK = re.compile(r"(?<=<!-- figures: bench -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)

WIDTH, BAR, GAP, LEFT, TOP = 760, 22, 12, 250, 54
ROOM = 170  # for what stands behind the longest bar


def main() -> None:
    """Write both anew."""
    results = json.loads(RESULTS.read_text())
    CHART.write_text(chart(results))
    README.write_text(BLOCK.sub(lambda _: figures(results), README.read_text()))


def figures(results: dict[str, Any]) -> str:
    """The paragraph of README."""
    run = f"model-quality run, {results['records']:,} records"
    whole, small = results["rows"][run], results["rows"]["model-quality run, 200 records"]
    cores = results["machine"]["cores"]
    said = [
        f"{results['records']:,} records in {results['files']:,} files ({results['bytes'] / 1e6:.0f} MB) are merged, SageMaker's "
        f"merged records kept, and judged in {whole['wall_s']:.1f} s on {cores} cores: {results['times_copy'][run]:.1f} times what copying "
        f"the same bytes takes, with {whole['peak_pss_mb']:.0f} MB for all processes."
    ]
    times = results.get("times_run", {})
    if "by hand" in times:
        hand = results["rows"]["by hand"]
        said.append(
            f"The same with `json`, a dict and scikit-learn takes {hand['wall_s']:.1f} s, {times['by hand']:.1f} times as long, and "
            f"{hand['peak_pss_mb']:.0f} MB."
        )
    if "Evidently" in times:
        theirs = results["rows"]["Evidently"]
        said.append(
            f"Merging with pandas for [Evidently](benchmarks/evidently/report.py) {results['machine']['evidently']} and its classification report, without "
            f"merged records or standard deviations, takes {theirs['wall_s']:.1f} s, {times['Evidently']:.1f} times as long, and "
            f"{theirs['peak_pss_mb']:.0f} MB."
        )
    if large := results.get("large"):
        row = large["rows"][f"model-quality run, {large['records']:,} records"]
        said.append(f"{large['records']:,} records take {row['wall_s']:.1f} s and {row['peak_pss_mb']:.0f} MB.")
    said.append(f"A run of 200 records takes {small['wall_s']:.2f} s from the start of its process.")
    if slid := results.get("sliding"):
        said.append(
            f"Of a window of seven days that moves on by an hour, the next run takes {slid['next_cpu_s']:.1f} s of CPU where the first took "
            f"{slid['first_cpu_s']:.1f} s ({slid['records']:,} records)."
        )
        if "backfill_apart_times_all_hours" in slid:  # figures of an earlier benchmark have none
            said.append(
                f"A backfill of {slid['windows']} such windows takes {slid['backfill_times_all_hours']:.1f} times the CPU of one run over all their "
                f"hours in one process, {slid['backfill_apart_times_all_hours']:.1f} times in processes of their own, without what Airflow takes."
            )
    pixels = f"![{escape(alternative(results), quote=False)}](docs/images/speed.svg)"
    return "\n".join([*said, "", pixels, ""])


def alternative(results: dict[str, Any]) -> str:
    """What the chart shows, in words."""
    told = [f"{label}: {row['wall_s']:.1f} s" for label, row, _ in bars(results)]
    return f"Seconds for {results['records']:,} records: {'; '.join(told)}"


def bars(results: dict[str, Any]) -> list[tuple[str, dict[str, Any], bool]]:
    """Label, figures and whether it is this project's, of each row that the chart shows."""
    run = f"model-quality run, {results['records']:,} records"
    labels = {
        "copy": "copying the bytes",
        "parse": "parsing alone, one process",
        run: "this package",
        "by hand": "json, dict, scikit-learn",
        "Evidently": f"pandas, Evidently {results['machine'].get('evidently', '')}",
    }
    return [(label, results["rows"][name], name == run) for name, label in labels.items() if name in results["rows"]]


def chart(results: dict[str, Any]) -> str:
    """Bars of wall seconds with the peak memory beside them, readable on a light and on a dark page."""
    shown = bars(results)
    longest = max(row["wall_s"] for _, row, _ in shown)
    height = TOP + len(shown) * (BAR + GAP) + 8
    title = f"{results['records']:,} records, {results['bytes'] / 1e6:,.0f} MB in {results['files']:,} files, {results['machine']['cores']} cores"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        f"<title>{escape(alternative(results))}</title>",
        "<style>",
        "text { font: 14px system-ui, sans-serif; fill: #24292f } .quiet { fill: #57606a } .bar { fill: #afb8c1 } .ours { fill: #0969da }",
        "@media (prefers-color-scheme: dark) {",
        "text { fill: #e6edf3 } .quiet { fill: #9198a1 } .bar { fill: #656c76 } .ours { fill: #4493f8 }",
        "}",
        "</style>",
        f'<text x="0" y="18" font-weight="600">{escape(title)}</text>',
        f'<text x="{LEFT}" y="40" class="quiet">seconds, and the most memory</text>',
    ]
    for number, (label, row, ours) in enumerate(shown):
        top = TOP + number * (BAR + GAP)
        width = max(2.0, row["wall_s"] / longest * (WIDTH - LEFT - ROOM))
        middle = top + BAR - 6
        told = f"{row['wall_s']:.1f} s · {row['peak_pss_mb']:,.0f} MB"
        lines += [
            f'<text x="{LEFT - 10}" y="{middle}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LEFT}" y="{top}" width="{width:.1f}" height="{BAR}" rx="2" class="{"bar ours" if ours else "bar"}"/>',
            f'<text x="{LEFT + width + 8:.1f}" y="{middle}">{escape(told)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    main()
