"""What each model says of a study, and where the study is: no result is never a negative one."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from dicom_node.domain.explanation import Trust
from dicom_node.domain.findings import Presence
from dicom_node.domain.job import MAX_ATTEMPTS, POISON, JobState
from dicom_node.domain.study import StudyState
from dicom_node.ledger.deliveries import Backlog
from dicom_node.ledger.worklist import Progress, Row, current_jobs
from dicom_node.web.words import BY_PACS, NO_PROOF, NOT_YET, Reason, reason

NOT_ANALYSED = "Not analysed. This is not a negative result."


class Tone(StrEnum):
    """How a state looks: the class of its mark in the style sheet."""

    PRESENT = "present"
    ABSENT = "absent"
    UNSURE = "unsure"
    BUSY = "busy"
    FAILED = "failed"
    NONE = "none"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class State:
    """A mark, a word and a sentence."""

    tone: Tone
    word: str
    line: str = ""
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class FindingLine:
    """One finding of a job's summary."""

    label: str
    state: State
    probability: float | None
    threshold: float | None
    """From which on it counts as present."""
    trust: State
    """How far its heat map can be believed; the line says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one job says, or why it says nothing."""

    job: Row
    state: State
    findings: tuple[FindingLine, ...]
    current: bool
    """The model's latest job on this study."""
    warning: str = ""
    """What a reader must know before the answer."""

    @property
    def model(self) -> str:
        """Name and version, as the settings and the report write it."""
        return f"{self.job['model_name']}@{self.job['model_version']}"

    @property
    def retryable(self) -> bool:
        """Whether a person may order it again."""
        return self.job["state"] in (JobState.FAILED, JobState.QUARANTINED)


_PRESENCES: Mapping[str, State] = {
    Presence.PRESENT: State(Tone.PRESENT, "Present"),
    Presence.ABSENT: State(Tone.ABSENT, "Absent"),
    Presence.UNDETERMINED: State(Tone.UNSURE, "Undetermined"),
}
_TRUSTS: Mapping[str, State] = {
    Trust.RELIABLE: State(Tone.DONE, "Heat map: checks passed"),
    Trust.CAUTION: State(Tone.UNSURE, "Heat map: take with caution"),
    Trust.NOT_RELIABLE: State(Tone.FAILED, "Heat map withheld: not reliable"),
    Trust.NOT_MEASURED: State(Tone.NONE, "Heat map: not measured"),
}


def answers(jobs: Sequence[Row]) -> tuple[Answer, ...]:
    """What each job says; of each model the one that counts first, then the earlier ones."""
    latest = current_jobs(jobs)
    ids = {row["id"] for row in latest}
    earlier = [row for row in jobs if row["id"] not in ids]
    return tuple(_answer(row, row["id"] in ids) for row in [*latest, *earlier])


def _answer(job: Row, current: bool) -> Answer:
    summary = job["summary"] if isinstance(job["summary"], dict) else {}
    findings = tuple(_finding(f) for f in summary.get("findings") or () if isinstance(f, dict))
    warning = str(summary.get("warning") or "")
    return Answer(job, _state(job, summary, findings), findings, current, warning)


def _finding(told: Mapping[str, Any]) -> FindingLine:
    probability, threshold = (_number(told.get(name)) for name in ("probability", "threshold"))
    return FindingLine(
        label=str(told.get("label") or "Finding"),
        state=_PRESENCES.get(str(told.get("presence")), _PRESENCES[Presence.UNDETERMINED]),
        probability=probability,
        threshold=threshold,
        trust=_trust(told),
    )


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) else None


def _trust(told: Mapping[str, Any]) -> State:
    state = _TRUSTS.get(str(told.get("trust")), State(Tone.NONE, "No heat map"))
    reasons = told.get("reasons")
    return replace(state, line=" ".join(map(str, reasons)) if isinstance(reasons, list) else "")


def _state(job: Row, summary: Mapping[str, Any], findings: Sequence[FindingLine]) -> State:
    if job["rejected"]:
        return State(Tone.UNSURE, "Rejected", "A reader rejected this result: do not use it.")
    if job["state"] == JobState.ANALYSED:
        return _said(str(summary.get("line") or ""), {f.state.tone for f in findings})
    why = reason(job["reason"])
    if job["state"] == JobState.FAILED:
        return State(Tone.FAILED, "Failed", "No result: the model cannot be used.", why)
    if job["state"] == JobState.QUARANTINED:
        after = f" after {job['attempt']} tries" if job["reason"] in POISON else ""
        return State(Tone.FAILED, "Failed", f"No result: given up{after}.", why)
    if job["state"] == JobState.DECLINED:
        return State(Tone.NONE, "No result", NOT_ANALYSED, why)
    if job["state"] == JobState.CANCELLED:
        return State(Tone.NONE, "No result", "Cancelled.", why)
    return _unfinished(job, why)


def _said(line: str, tones: set[Tone]) -> State:
    if Tone.PRESENT in tones:
        return State(Tone.PRESENT, "Positive", line)
    if tones == {Tone.ABSENT}:
        return State(Tone.ABSENT, "Negative", line)
    return State(Tone.UNSURE, "Undetermined", line or "The report says what was found.")


def _unfinished(job: Row, why: Reason | None) -> State:
    if job["state"] == JobState.ANALYSING:
        line = f"Being analysed, try {job['attempt']} of {MAX_ATTEMPTS}."
    elif job["attempt"]:
        line = f"Waits for try {job['attempt'] + 1} of {MAX_ATTEMPTS}."
    else:
        line = "Waits for a worker."
    return State(Tone.BUSY, "No result yet", line, why)


def without_jobs(study: Row) -> State:
    """What to say of the models while none was asked."""
    if study["state"] == StudyState.RECEIVING:
        return State(Tone.BUSY, "No result yet", "Images still arrive.")
    if study["state"] == StudyState.REMOVED:
        return State(Tone.NONE, "Removed", "Results that were sent are where they were sent to.")
    return State(Tone.NONE, "No result", NOT_ANALYSED, reason(study["reason"]))


def received(study: Row, quiet_s: float) -> State:
    """Whether the study is complete."""
    if study["state"] == StudyState.REMOVED:
        return State(Tone.NONE, "Removed", reason=reason(study["reason"]))
    if study["state"] == StudyState.QUARANTINED:
        return State(Tone.FAILED, "Held back", reason=reason(study["reason"]))
    if study["state"] == StudyState.RECEIVING:
        line = f"Analysis starts after {quiet_s:g} s without a new image."
        return State(Tone.BUSY, "Receiving", line)
    return State(Tone.DONE, "Complete")


def analysed(study: Row, jobs: Sequence[Row]) -> State:
    """How far the models are; a failure comes first."""
    current = [answer for answer in answers(jobs) if answer.current]
    failed = next((a.state for a in current if a.state.tone is Tone.FAILED), None)
    if failed:
        return State(Tone.FAILED, "Failed", reason=failed.reason)
    return _routed(current) or without_jobs(study)


def situation(study: Row, jobs: Sequence[Row], quiet_s: float) -> State:
    """Where a study is, or what went wrong: the worst that is true of it now."""
    arrival, analysis = received(study, quiet_s), analysed(study, jobs)
    if arrival.tone is Tone.FAILED:
        return arrival
    if analysis.tone is Tone.FAILED:
        return analysis
    if study["state"] == StudyState.NO_MODEL:
        return State(Tone.NONE, "No model", reason=reason(study["reason"]))
    return arrival if arrival.tone is Tone.BUSY else analysis


def _routed(current: Sequence[Answer]) -> State | None:
    states = {answer.job["state"] for answer in current} - {JobState.DECLINED}
    waiting = next((a.state for a in current if a.job["state"] == JobState.READY), None)
    if JobState.ANALYSING in states:
        return State(Tone.BUSY, "Analysing")
    if waiting:
        return State(Tone.BUSY, "Waiting", reason=waiting.reason)
    if JobState.ANALYSED in states:
        return State(Tone.DONE, "Analysed")
    return State(Tone.NONE, "Cancelled") if states else None


def stuck(
    backlog: Iterable[Backlog], destinations: Collection[str]
) -> list[tuple[str, int, Reason | None]]:
    """Destination, studies and why, of what is not sent: the peer is away, or the settings name
    none.
    """
    waits = [
        (each.destination, each.postponed, reason(each.reason))
        if each.destination in destinations
        else (each.destination, each.studies, reason("UNKNOWN_DESTINATION"))
        for each in backlog
    ]
    return [each for each in waits if each[1]]


def delivered(progress: Progress, destinations: Collection[str]) -> State:
    """How the sending to one destination goes; ``destinations``: those the settings name."""
    if progress.held:
        return State(Tone.FAILED, f"{progress.held} held", reason=reason(progress.reason))
    if progress.postponed:
        return State(Tone.UNSURE, "Postponed", reason=reason(progress.reason))
    if progress.sent < progress.total and progress.destination not in destinations:
        return State(Tone.FAILED, "Not sent", reason=reason("UNKNOWN_DESTINATION"))
    if progress.sent < progress.total:
        return State(Tone.BUSY, "Sending")
    return State(Tone.DONE, _proof(progress))


def _proof(progress: Progress) -> str:
    """Whether what was sent is there; the least that holds for all of it."""
    if progress.asked:
        return NOT_YET
    if progress.unproven:
        return NO_PROOF
    return BY_PACS if progress.confirmed == progress.total else "All sent"
