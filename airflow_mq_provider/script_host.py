"""The child process in which a user's script runs: this file is its program, and nothing else of the package is in it.

It reads one JSON object a line from standard input and answers each with one on what was standard output. What the script
prints goes to standard error, and so into the log. It ends when its input ends.

    {"uri", "source", "handler"}     first: the script, and the function to call   -> {"ready": true}
    a merged record                  preprocess_handler's argument                 -> {"rows": [{…}, …]}, [] for a dropped record
    null                             postprocess_handler has none                  -> {"done": true}

Whatever is raised is answered as {"error": {"type", "message", "line", "text"}}, the line being the script's.
"""

from __future__ import annotations

import inspect
import json
import linecache
import logging
import os
import resource
import sys
import traceback
from typing import Any


class _Part:
    """One side of a record: ``data``, ``encoding``, ``observedContentType`` and ``mode``; None where it says nothing."""

    def __init__(self, part: dict[str, Any]) -> None:
        self.data = part.get("data")
        self.encoding = part.get("encoding")
        self.observedContentType = part.get("observedContentType")
        self.mode = part.get("mode")


class _EventMetadata:
    def __init__(self, metadata: dict[str, Any]) -> None:
        self.event_id = metadata.get("eventId")
        self.event_time = metadata.get("inferenceTime")
        self.custom_attribute = metadata.get("customAttributes")


class InferenceRecord:
    """What SageMaker hands to ``preprocess_handler``: a captured record with its ground truth."""

    def __init__(self, event: dict[str, Any]) -> None:
        captured = event.get("captureData") or {}
        self.event_dict = event
        self.event_version = event.get("eventVersion")
        self.event_metadata = _EventMetadata(event.get("eventMetadata") or {})
        self.endpoint_input = _Part(captured.get("endpointInput") or {})
        self.endpoint_output = _Part(captured.get("endpointOutput") or {})
        self.batch_transform_output = _Part(captured.get("batchTransformOutput") or {})
        self.ground_truth = _Part(event.get("groundTruthData") or {})

    def as_dict(self) -> dict[str, Any]:
        """Return the record as it was captured."""
        return self.event_dict


def main() -> None:
    """Answer requests until there are no more."""
    # whoever asks may be held to a memory limit: it is none of the script's
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a script prints must not look like an answer
    script = json.loads(requests.readline())
    handler: Any = None

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content).encode() + b"\n")
        answers.flush()

    try:
        handler = load(script["uri"], script["source"], script["handler"])
        answer({"ready": True})
    except BaseException as error:  # noqa: BLE001 - SystemExit too is told to the one who waits
        answer({"error": fault(error, script["uri"])})
        return
    for request in requests:
        try:
            answer(handler(json.loads(request)))
        except BaseException as error:  # noqa: BLE001 - likewise
            answer({"error": fault(error, script["uri"])})
            return


def load(uri: str, source: str, name: str) -> Any:
    """Run the script and return what answers a request with its handler."""
    # so that a traceback can show the line
    linecache.cache[uri] = (len(source), None, source.splitlines(keepends=True), uri)
    names: dict[str, Any] = {"__name__": "script", "__file__": uri}
    exec(compile(source, uri, "exec"), names)  # noqa: S102 - this is what the process is for
    handler = names.get(name)
    if not callable(handler):
        raise TypeError(f"the script defines no function {name}")
    if name == "postprocess_handler":

        def finish(_: None) -> dict[str, Any]:
            handler()
            return {"done": True}

        return finish
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    more = (logging.getLogger("preprocessor"),) if len(inspect.signature(handler).parameters) > 1 else ()

    def process(event: dict[str, Any]) -> dict[str, Any]:
        returned = handler(InferenceRecord(event), *more)
        rows = returned if isinstance(returned, list) else [returned]
        for row in rows:
            if not isinstance(row, dict):
                raise TypeError(
                    f"{name} must return a dict, a list of dicts, or [] to drop the record, not {row!r:.80}"
                )
        return {"rows": rows}

    return process


def fault(error: BaseException, uri: str) -> dict[str, Any]:
    """What is told of an exception: its type and message, and the script's line that it came from, if from one."""
    if isinstance(error, SyntaxError) and error.filename == uri:
        return {"type": type(error).__name__, "message": str(error.msg), "line": error.lineno, "text": error.text or ""}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == uri]
    line, text = (frames[-1].lineno, frames[-1].line or "") if frames else (None, "")
    return {"type": type(error).__name__, "message": str(error), "line": line, "text": text}


if __name__ == "__main__":
    main()
