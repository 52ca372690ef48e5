"""Users' scripts, with SageMaker's signatures: a record preprocessor and a post-analytics processor (rule O5).

They are code, so they run only where that was allowed, and then in a child process that has nothing of this process's
environment: no connection, no secret, no configuration of Airflow's. `script_host` is that process.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_mq_provider.exceptions import ScriptError
from airflow_mq_provider.monitor import ModelQualityMonitor
from airflow_mq_provider.storage import Storage, join

PREPROCESSOR, POSTPROCESSOR = "record_preprocessor", "post_analytics_processor"
"""What scripts a definition may name."""

_HOST = Path(__file__).with_name("script_host.py")
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""Of this process's environment, all that a script gets."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script as it was read: where from, its text, and the definition's environment, which it finds as its own."""

    uri: str
    source: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, str]:
        """What a report says of it: where from, and a digest of its text."""
        return {"uri": self.uri, "sha256": hashlib.sha256(self.source.encode()).hexdigest()}


def scripts_of(monitor: ModelQualityMonitor, storage: Storage, *, allow: bool) -> dict[str, Script]:
    """The scripts of a monitor's definition, by what they are; none where it names none.

    Raises:
        ScriptError: there is one and none may run here (rule O5), or it is no text.
        InputError: it cannot be read.
    """
    settings = monitor.sagemaker
    if settings is None:
        return {}
    uris = {
        PREPROCESSOR: settings.record_preprocessor_source_uri,
        POSTPROCESSOR: settings.post_analytics_processor_source_uri,
    }
    found: dict[str, Script] = {}
    for name, uri in uris.items():
        if uri is None:
            continue
        if not allow:
            raise ScriptError(
                expected="leave to run the script of the definition, which is code",
                came="none: scripts are not allowed here",
                where=f"sagemaker.{name}_source_uri of {monitor.name!r}: {uri}",
                next_step="read the script, then set [model_quality] allow_scripts = True in Airflow's configuration, or give "
                "--allow-scripts on the command line; or take the field out of the monitor",
            )
        try:
            found[name] = Script(uri, storage.read(uri).decode(), dict(settings.environment))
        except UnicodeDecodeError as error:
            raise ScriptError(
                expected="a Python script in UTF-8",
                came=str(error),
                where=uri,
                next_step="point the field at the script's source",
            ) from error
    return found


class Preprocessor:
    """A running ``preprocess_handler``. Use it as a context manager: it is a process.

    Raises:
        ScriptError: the script cannot be loaded.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._host = _Host(script, "preprocess_handler")

    def __enter__(self) -> Preprocessor:
        return self

    def __exit__(self, *_: object) -> None:
        self._host.end()

    def rows(self, record: bytes, where: str) -> list[dict[str, Any]]:
        """What the handler makes of a merged record: a row each; none for a record that it drops.

        Raises:
            ScriptError: the handler raised, or returned something else. The script's line and the record, `where`, are named.
        """
        rows: list[dict[str, Any]] = self._host.ask(record, f", called with the record {where}")["rows"]
        return rows


def postprocess(script: Script, storage: Storage, prefix: str, documents: Iterable[str], added: str) -> None:
    """Run ``postprocess_handler`` once, on copies of the documents under a prefix.

    It finds a folder with those of `documents` that exist as its working directory and as ``output_path``. The files that
    it adds are written under `added`; the documents stay as they were.

    Raises:
        ScriptError: the script cannot be loaded, or the handler raised.
    """
    with tempfile.TemporaryDirectory(prefix="model-quality-") as folder:
        given = {name for name in documents if storage.exists(join(prefix, name))}
        for name in given:
            Path(folder, name).write_bytes(storage.read(join(prefix, name)))
        host = _Host(script, "postprocess_handler", folder=folder)
        try:
            host.ask(b"null", "")
        finally:
            host.end()
        for path in sorted(Path(folder).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and not path.is_symlink() and name not in given:
                storage.write(join(added, name), path.read_bytes())


class _Host:
    def __init__(self, script: Script, handler: str, *, folder: str | None = None) -> None:
        self._script = script
        self._handler = handler
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(script.environment)
        if folder is not None:
            environment["output_path"] = folder
        # -I: nothing of Python's own variables, of the user's packages or of the working directory
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(_HOST)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=folder,
        )
        self.ask(json.dumps({"uri": script.uri, "source": script.source, "handler": handler}).encode(), "")

    def ask(self, request: bytes, during: str) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process was started without pipes")
        try:
            self._process.stdin.write(request + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            self.end()
            raise self._refused(f"a process that ended with code {self._process.returncode}", None, "", during)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self.end()
            found = answer["error"]
            raise self._refused(f"{found['type']}: {found['message']}", found["line"], found["text"], during)
        return answer

    def _refused(self, came: str, line: int | None, text: str, during: str) -> ScriptError:
        at = f"{self._script.uri}, line {line}: {text.strip()}" if line else self._script.uri
        return ScriptError(
            expected=f"a script whose {self._handler} runs",
            came=came,
            where=at + during,
            next_step="correct the script; what it prints stands in the log above",
        )

    def end(self) -> None:
        """End the process: its input ends, and a handler that does not come back is killed after some seconds."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                # it ended first; so much the better
                self._process.stdin = None
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
