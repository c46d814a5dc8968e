"""All of one study in the order a reader wants it: answers, series, objects, time line."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pydicom.uid import UID

from dicom_node.domain.delivery import ARRIVED, NEVER_SENT, UNPROVEN, DeliveryState
from dicom_node.domain.review import Verdict
from dicom_node.ledger.pages import StudyPage
from dicom_node.ledger.worklist import Progress, Row, current_jobs
from dicom_node.web.answers import Answer, State, Tone, answers
from dicom_node.web.words import DELIVERIES, NO_PROOF, NOT_YET, event, kind, reason


@dataclass(frozen=True, slots=True)
class SeriesLine:
    """One series, and what each model said to it."""

    series_instance_uid: str
    attributes: Mapping[str, Any]
    images: int
    choices: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class ObjectLine:
    """One object on its way to one destination; no delivery: nobody takes it."""

    result: Row
    kind: str
    sop_class: str
    delivery: Row | None
    state: State

    @property
    def retryable(self) -> bool:
        """Held, or waiting in a pause after a try."""
        if self.delivery is None:
            return False
        held = self.delivery["state"] == DeliveryState.HELD
        return held or _postponed(self.delivery)


@dataclass(frozen=True, slots=True)
class JobSection:
    """One job with all that came of it."""

    answer: Answer
    objects: tuple[ObjectLine, ...]
    reviews: tuple[Row, ...]

    @property
    def retryable_objects(self) -> int:
        """How many objects a person may send again now."""
        return sum(line.retryable for line in self.objects)

    @property
    def rejecters(self) -> tuple[str, ...]:
        """Readers who disagree and may therefore reject the result, each once."""
        if not self.objects or self.answer.job["rejected"]:
            return ()
        names = (row["reader"] for row in self.reviews if row["verdict"] == Verdict.DISAGREE)
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class EventLine:
    """Equal events in a row, as one line."""

    first_at: float
    last_at: float
    count: int
    words: str
    model: str
    tone: Tone
    why: Any


def sections(page: StudyPage, destinations: Collection[str]) -> tuple[JobSection, ...]:
    """The jobs of a study, those that count first; ``destinations``: those the settings name."""
    return tuple(_section(answer, page, destinations) for answer in answers(page.jobs))


def _section(answer: Answer, page: StudyPage, destinations: Collection[str]) -> JobSection:
    job_id = answer.job["id"]
    sent_to = _by(page.deliveries, "sop_instance_uid")
    lines = [
        _object(result, delivery, destinations)
        for result in page.results
        if result["job_id"] == job_id
        for delivery in sent_to.get(result["sop_instance_uid"], [None])
    ]
    reviews = tuple(row for row in page.reviews if row["job_id"] == job_id)
    return JobSection(answer, tuple(lines), reviews)


def _object(result: Row, delivery: Row | None, destinations: Collection[str]) -> ObjectLine:
    name = UID(result["sop_class_uid"]).name
    state = State(Tone.NONE, "Kept here", "No destination takes this kind.")
    if delivery is not None:
        state = _delivery_state(delivery, delivery["destination"] in destinations)
    return ObjectLine(result, kind(result["kind"]), name, delivery, state)


def _delivery_state(delivery: Row, known: bool) -> State:
    if delivery["state"] == DeliveryState.READY and not known:
        return State(Tone.FAILED, "Waiting", reason=reason("UNKNOWN_DESTINATION"))
    tones = {
        **dict.fromkeys(ARRIVED, Tone.DONE),
        DeliveryState.SENDING: Tone.BUSY,
        DeliveryState.HELD: Tone.FAILED,
    }
    if _postponed(delivery):
        return State(Tone.UNSURE, "Postponed", reason=reason(delivery["reason"]))
    tone = tones.get(delivery["state"], Tone.NONE)
    return State(tone, _word(delivery), reason=reason(delivery["reason"]))


def _word(delivery: Row) -> str:
    if _is_unproven(delivery):
        return NO_PROOF
    is_asked = delivery["state"] == DeliveryState.SENT and delivery["proof"]
    return NOT_YET if is_asked else DELIVERIES.get(delivery["state"], delivery["state"])


def _postponed(delivery: Row) -> bool:
    return bool(delivery["state"] == DeliveryState.READY and delivery["attempt"] > 0)


def series_lines(page: StudyPage) -> tuple[SeriesLine, ...]:
    """Every series that was received, by its number."""
    known = {row["series_instance_uid"]: row["attributes"] for row in page.series}
    choices = _by(page.selection, "series_instance_uid")
    lines = [
        SeriesLine(uid, known.get(uid, {}), count, tuple(choices.get(uid, ())))
        for uid, count in page.images.items()
    ]
    return tuple(sorted(lines, key=_series_order))


def _series_order(line: SeriesLine) -> tuple[float, str]:
    number = line.attributes.get("SeriesNumber")
    in_order = float(number) if isinstance(number, int | float) else float("inf")
    return in_order, line.series_instance_uid


def progress(page: StudyPage) -> tuple[Progress, ...]:
    """How far the study's objects are, by destination; none is held that a later one replaces."""
    owed = {row["id"] for row in page.jobs if row["rejected"]}
    owed |= {row["id"] for row in current_jobs(page.jobs)}
    wanted = (
        row
        for row in page.deliveries
        if row["state"] not in NEVER_SENT
        and (row["state"] != DeliveryState.HELD or row["job_id"] in owed)
    )
    found = _by(wanted, "destination")
    return tuple(_progress(name, found[name]) for name in sorted(found))


def _progress(destination: str, rows: Sequence[Row]) -> Progress:
    states = [row["state"] for row in rows]
    held = [row for row in rows if row["state"] == DeliveryState.HELD]
    postponed = [row for row in rows if _postponed(row)]
    why = next((row["reason"] for row in held + postponed), "")
    return Progress(
        destination,
        total=len(rows),
        sent=sum(state in ARRIVED for state in states),
        confirmed=states.count(DeliveryState.CONFIRMED),
        unproven=sum(map(_is_unproven, rows)),
        asked=sum(row["state"] in ARRIVED and bool(row["proof"]) for row in rows),
        held=len(held),
        postponed=len(postponed),
        reason=why,
    )


def _is_unproven(delivery: Row) -> bool:
    return bool(delivery["state"] == DeliveryState.SENT and delivery["reason"] == UNPROVEN)


def event_lines(page: StudyPage) -> tuple[EventLine, ...]:
    """The time line with its images, latest first; equal events in a row become one line."""
    models = {row["id"]: row["model_name"] for row in page.jobs}
    runs = groupby(page.events, key=lambda row: (row["action"], row["reason"], row["job_id"]))
    lines = [_event(tuple(run), models.get(key[2], "")) for key, run in runs]
    images = [
        EventLine(at, at, 1, f"{which} image received", "", Tone.DONE, None)
        for which, at in (
            ("First", page.study["first_received_at"]),
            ("Last", page.study["last_received_at"]),
        )
    ]
    latest_first = reversed([*images, *lines])
    return tuple(sorted(latest_first, key=lambda line: line.last_at, reverse=True))


def _event(run: tuple[Row, ...], model: str) -> EventLine:
    first, last = run[0], run[-1]
    tone = _EVENT_TONES.get(first["action"].partition(".")[2], Tone.DONE)
    why = reason(first["reason"])
    return EventLine(first["at"], last["at"], len(run), event(first["action"]), model, tone, why)


_EVENT_TONES: Mapping[str, Tone] = {
    "failed": Tone.FAILED,
    "quarantined": Tone.FAILED,
    "held": Tone.FAILED,
    "ready": Tone.UNSURE,
    "cancelled": Tone.NONE,
    "removed": Tone.NONE,
    "claimed": Tone.BUSY,
    "opened": Tone.BUSY,
    "retried": Tone.BUSY,
}


def _by(rows: Iterable[Row], name: str) -> dict[str, list[Any]]:
    grouped: dict[str, list[Any]] = {}
    for row in rows:
        grouped.setdefault(row[name], []).append(row)
    return grouped
