"""``python tools/readme_samples.py [--check]``: what the README shows of the demo, made from the demo.

Makes the demo's data in a temporary folder, judges the windows of the model that gets worse, and writes the samples between
their marks in README.md. The windows are judged without Airflow, in seconds; tests/airflow/test_demo_on_airflow.py holds
that `make demo` prints the same rows. With ``--check`` nothing is written, and the exit code is 1 where the README shows
something else.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import json
import re
import sys
import tempfile
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def samples() -> dict[str, str]:
    """Return the samples by the names of their marks."""
    from airflow_mq_provider import cli, demo
    from airflow_mq_provider.monitor import ModelQualityMonitor
    from airflow_mq_provider.run import run

    with tempfile.TemporaryDirectory(prefix="readme-samples-") as folder, contextlib.chdir(folder):
        demo.make("demo")
        changed = json.loads(Path("demo/what-changed.json").read_text())
        declaration = f"demo/monitors/{changed['monitor']}/monitor.yaml"
        monitor = ModelQualityMonitor.from_file(declaration)
        reports = [run(monitor, window) for window in demo.windows()]
        worse = next(report for report in reports if report["window"]["start"] == changed["from"])
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            cli.main(["run", declaration, "--at", worse["window"]["scheduled_time"]])
        # told from where a reader calls make
        return {"run": said.getvalue().replace(f"{Path.cwd()}/", ""), "table": demo.table(reports, "demo") + "\n"}


def shown(text: str, made: dict[str, str]) -> str:
    """Return the README with these samples between their marks."""
    for name, sample in made.items():
        mark = f"<!-- sample: {name} -->\n```text\n"
        found = re.findall(rf"^{mark}.*?^```\n", text, flags=re.MULTILINE | re.DOTALL)
        if len(found) != 1:
            raise SystemExit(
                f"expected one block of text after 'sample: {name}'; came {len(found)}; where: README.md; next: put it there"
            )
        text = text.replace(found[0], f"{mark}{sample}```\n")
    return text


def main(arguments: list[str]) -> int:
    """Write the samples, or tell where the README shows others."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python tools/readme_samples.py [--check]\n")
        return 2
    before = README.read_text(encoding="utf-8")
    after = shown(before, samples())
    if not arguments:
        README.write_text(after, encoding="utf-8")
        return 0
    if before == after:
        return 0
    told = difflib.unified_diff(before.splitlines(), after.splitlines(), "README.md", "the demo", lineterm="", n=0)
    sys.stderr.write("\n".join(told) + "\nexpected README.md's samples as the demo makes them; next: make readme\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
