"""When people are told of a verdict, and in what words.

`turn` decides from the verdicts of the windows before, `alert_of` writes: a line, a plain text, HTML, and blocks for a chat.
Neither knows who is told, nor how.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import escape

from airflow_mq_provider.exceptions import ModelQualityError
from airflow_mq_provider.publish.text import count, number, percent, sd_beyond
from airflow_mq_provider.quality.constraints import NOT_JUDGED, WITH_VIOLATIONS

POLICIES: Final = ("first", "every")
LONGEST_PERIOD: Final = 100
"""SageMaker's limit of an evaluation period."""

WORSE, RECOVERED, UNJUDGED = "worse", "recovered", "not_judged"
_SUBJECT_LENGTH: Final = 99  # SNS takes fewer than 100 characters
_TOLD: Final = 8


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """When a verdict is worth a message.

    A monitor is in alarm while at least `datapoints_to_alert` of its last `evaluation_period` judged windows violate a
    constraint, as in SageMaker's monitoring alerts. The defaults make every violation an alarm and every good window its end.

    Attributes:
        repeat: ``first`` tells when the alarm begins, ``every`` also of each bad window while it lasts. Both tell its end.
        datapoints_to_alert: SageMaker's DatapointsToAlert.
        evaluation_period: SageMaker's EvaluationPeriod, in windows.
        not_judged: whether windows that could not be judged make an alarm of their own, counted among all windows.

    Raises:
        ModelQualityError: one of them is out of its bounds.
    """

    repeat: str = "first"
    datapoints_to_alert: int = 1
    evaluation_period: int = 1
    not_judged: bool = False

    def __post_init__(self) -> None:
        if self.repeat not in POLICIES:
            raise _refused("repeat", f"one of {', '.join(POLICIES)}", self.repeat)
        if not 1 <= self.evaluation_period <= LONGEST_PERIOD:
            raise _refused("evaluation_period", f"1 to {LONGEST_PERIOD} windows", self.evaluation_period)
        if not 1 <= self.datapoints_to_alert <= self.evaluation_period:
            raise _refused("datapoints_to_alert", "1 to evaluation_period", self.datapoints_to_alert)

    def turn(self, former: Sequence[str], status: str) -> str | None:
        """Return what a window's status is news of: `WORSE`, `RECOVERED`, `UNJUDGED` or nothing.

        ``former`` are the statuses of the windows before it, oldest first; those beyond the evaluation period are not needed.
        """
        if status == NOT_JUDGED:
            begins, lasts, _ = self._alarm([one == NOT_JUDGED for one in former], now=True)
            return UNJUDGED if self.not_judged and (begins or (lasts and self.repeat == "every")) else None
        judged = [one == WITH_VIOLATIONS for one in former if one != NOT_JUDGED]
        begins, lasts, ends = self._alarm(judged, now=status == WITH_VIOLATIONS)
        if status == WITH_VIOLATIONS:
            return WORSE if begins or (lasts and self.repeat == "every") else None
        if self.not_judged and not lasts:
            ends |= self._alarm([one == NOT_JUDGED for one in former], now=False)[2]
        return RECOVERED if ends else None

    def _alarm(self, before: Sequence[bool], *, now: bool) -> tuple[bool, bool, bool]:
        """Whether an alarm begins, lasts or ends with a window, by whether the windows before and it are bad."""
        was, is_now = (
            sum(bad[-self.evaluation_period :]) >= self.datapoints_to_alert for bad in (before, [*before, now])
        )
        return is_now and not was, is_now and was, was and not is_now


def _refused(where: str, expected: str, came: object) -> ModelQualityError:
    return ModelQualityError(
        expected=expected, came=repr(came), where=where, next_step="correct it in the DAG file; docs/alerts.md"
    )


def former_statuses(verdict: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> list[str]:
    """The statuses of the windows before a verdict's, oldest first, from the events of its monitor's asset in their order.

    Events that could have been told count (`may_tell`), one for each scheduled time, the last.
    """
    at = verdict["window"]["scheduled_time"]
    found = {event["window"]["scheduled_time"]: event["status"] for event in events if may_tell(event)}
    return [found[time] for time in sorted(found) if time < at]


def may_tell(verdict: Mapping[str, Any]) -> bool:
    """Whether a verdict is of the model as it is now: of the newest window, and neither a backfill nor a window by hand."""
    return bool(
        verdict["newest_window"] and verdict["run_type"] != "backfill" and verdict["window"]["source"] != "params"
    )


@dataclass(frozen=True, slots=True)
class Alert:
    """A message in every form that a notifier may need; all of them say the same.

    Attributes:
        kind: `WORSE`, `RECOVERED` or `UNJUDGED`.
        subject: ASCII, in one line of fewer than 100 characters, as SNS asks for.
        short: a line, for a pager or the preview of a chat.
        plain: a text of several lines, of plain characters.
        html: the same for mail.
        blocks: the same for Slack (Block Kit).
        report_uri: where ``report.json`` lies.
    """

    kind: str
    subject: str
    short: str
    plain: str
    html: str
    blocks: list[dict[str, Any]]
    report_uri: str


def alert_of(kind: str, verdict: Mapping[str, Any]) -> Alert:
    """Write the message of a verdict: the summary that `QualityAnalysisOperator` returns."""
    monitor, window, merge = verdict["monitor"], verdict["window"], verdict["merge"]
    near = kind == RECOVERED and verdict["reason_code"] == "within_noise"
    title = f"{monitor}: {_WITHIN_NOISE if near else _TITLES[kind]}"
    violations = [_violated(one, verdict["metrics"]) for one in verdict["violations"]]
    if kind == WORSE:
        lines = violations[:_TOLD]
        if len(violations) > _TOLD:
            lines.append(f"and {len(violations) - _TOLD} more")
    else:
        lines = [str(verdict["reason"])]
    facts = [
        ("Window", f"{window['start']} to {window['end']}"),
        ("Records", _records(merge)),
        ("Labels as of", verdict["ground_truth_as_of"]),
        ("Report", verdict["report_uri"]),
    ]
    first = lines[0] + (f" and {len(violations) - 1} more" if kind == WORSE and len(violations) > 1 else "")
    plain = "\n".join([title, "", *(f"  {line}" for line in lines), "", *(f"{name}: {told}" for name, told in facts)])
    return Alert(
        kind=kind,
        subject=title.encode("ascii", "replace").decode()[:_SUBJECT_LENGTH],
        short=f"{title}. {first} ({window['start']} to {window['end']})",
        plain=plain,
        html=f"<pre>{escape(plain)}</pre>",
        blocks=_blocks(title, lines, facts),
        report_uri=verdict["report_uri"],
    )


def _records(merge: Mapping[str, Any]) -> str:
    """What was merged; SageMaker's own merger tells no coverage, and its analyzer not always the rows."""
    rows = "unknown" if merge["matched"] is None else count(merge["matched"])
    coverage = merge["label_coverage"]
    return rows if coverage is None else f"{rows}, {percent(coverage)} of the captures labelled"


_TITLES: Final = {
    WORSE: "the model is worse than its constraints",
    RECOVERED: "the model is within its constraints again",
    UNJUDGED: "the model could not be judged",
}

_WITHIN_NOISE: Final = "the model is beyond its constraints by no more than noise"

_CAPITAL: Final = re.compile("[A-Z]")
_THRESHOLD: Final = re.compile(r"'([^']+)'\Z")


def _violated(violation: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """A violation of ``report.json`` in words; it has the rates in camel case, as SageMaker does."""
    name = _CAPITAL.sub(lambda capital: f"_{capital[0].lower()}", violation["metric_name"])
    limit = _THRESHOLD.search(violation["description"])
    bound = "at least" if violation["constraint_check_type"] == "LessThanThreshold" else "at most"
    value = metrics[name]["value"] if name in metrics else None
    if limit is None or not isinstance(value, float | int):
        return str(violation["description"])
    far = sd_beyond(float(violation["sd_beyond"]), violation["constraint_check_type"], violation["within_noise"])
    return f"{name} is {number(value)}, and should be {bound} {number(float(limit[1]))}" + (f" ({far})" if far else "")


_BLOCK_LENGTH: Final = 2900  # Slack takes 3000 characters in a block of text


def _blocks(title: str, lines: Sequence[str], facts: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    told = "\n".join(f"• {_chat(line)}" for line in lines)
    small = [{"type": "mrkdwn", "text": f"*{name}* {_chat(told)}"} for name, told in facts]
    return [
        {"type": "header", "text": {"type": "plain_text", "text": title[:150]}},
        {"type": "section", "text": {"type": "mrkdwn", "text": told[:_BLOCK_LENGTH]}},
        {"type": "context", "elements": small},
    ]


def _chat(text: str) -> str:
    """Text in which Slack sees no mark-up."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
