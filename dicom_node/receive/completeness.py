"""When is a study ready? DICOM has no end of study: a closed association means nothing, and one
study may come over several (PS3.4 section B).

::

    all that was announced is here (MPPS, IAN, the PACS) ──grace──▶ EXPECTED ┐
    no image for the quiet period, and nothing announced is missing ▶ QUIET  ┤
                                                                             ├─▶ named series here?
    the deadline ──────────────────────────────────────────────────▶ DEADLINE ──▶ policy

All times are measured by the monotonic clock of whoever watches, from what it sees itself: a clock
that jumps closes nothing, and a watcher that starts anew waits anew.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from enum import StrEnum

from dicom_node.domain.study import Series, Study
from dicom_node.ledger import OpenStudy
from dicom_node.ledger.expectations import Standing
from dicom_node.observe import log
from dicom_node.receive.promises import Promises
from dicom_node.routing import against_rule, frames
from dicom_node.settings.completeness import Completeness, NamedSeries
from dicom_node.watch import Watch


class Why(StrEnum):
    """What makes a study ready."""

    EXPECTED = "EXPECTED"
    QUIET = "QUIET"
    DEADLINE = "DEADLINE"


@dataclass(frozen=True, slots=True)
class Ready:
    """A study that is to be closed, and why."""

    study: OpenStudy
    why: Why


class Readiness:
    """Watches the studies that receive, and names those that are ready."""

    def __init__(self, settings: Completeness, promises: Promises | None = None) -> None:
        self._settings = settings
        self._promises = promises
        self._quiet = Watch()
        self._settled = Watch()
        self._open = Watch()
        self._lacking: dict[str, int] = {}
        """Arrivals at which a named series was found missing."""
        self._told: dict[str, int] = {}
        """How many images the log said that a study waits for."""

    def ready(self, receiving: Sequence[OpenStudy], now: float) -> list[Ready]:
        """The studies that are to be closed now; ``now`` is a monotonic time in seconds."""
        uids = {study.study_instance_uid for study in receiving}
        for watch in (self._quiet, self._settled, self._open):
            watch.keep_only(uids)
        for known in (self._lacking, self._told):
            for uid in known.keys() - uids:
                del known[uid]
        if self._promises:
            self._promises.refresh(receiving)
        found = ((study, self._why(study, now)) for study in receiving)
        return [Ready(study, why) for study, why in found if why]

    def wait_for_series(self, study: OpenStudy) -> None:
        """A named series is missing: wait for another image, or for the deadline."""
        self._lacking[study.study_instance_uid] = study.arrivals

    def _why(self, study: OpenStudy, now: float) -> Why | None:
        uid = study.study_instance_uid
        standing = self._promises.standing(study, now) if self._promises else None
        settled = standing is not None and standing.settled
        settled_s = self._settled.still_s(uid, (study.arrivals, settled), now)
        quiet = self._quiet.still_s(uid, study.arrivals, now) >= self._settings.quiet_s
        late = self._open.still_s(uid, study.first_received_at, now) >= self._settings.deadline_s
        if self._lacking.get(uid) != study.arrivals:
            if settled and settled_s >= self._settings.grace_s:
                return Why.EXPECTED
            if quiet and not self._is_missing_some(uid, standing):
                return Why.QUIET
        return Why.DEADLINE if late else None

    def _is_missing_some(self, uid: str, standing: Standing | None) -> bool:
        missing = standing.missing if standing else 0
        if missing and self._told.get(uid) != missing:
            log("sweep").info("study.waits", study=uid, reason="INCOMPLETE", count=missing)
            self._told[uid] = missing
        return missing > 0


def lacking(study: Study, wanted: Sequence[NamedSeries]) -> list[str]:
    """Names of the series that a study has to hold and does not."""
    modalities = {str(series.attributes.get("Modality")) for series in study.series}
    return [
        named.name
        for named in wanted
        if _is_asked_for(named, modalities) and not any(_fits(s, named) for s in study.series)
    ]


def _is_asked_for(named: NamedSeries, modalities: Set[str]) -> bool:
    return not named.modalities or not modalities.isdisjoint(named.modalities)


def _fits(series: Series, named: NamedSeries) -> bool:
    enough = frames(series) >= named.min_images
    return enough and not any(against_rule(series, rule) for rule in named.rules)


def series_keywords(wanted: Sequence[NamedSeries]) -> set[str]:
    """The header attributes that the rules ask for."""
    return {rule.keyword for named in wanted for rule in named.rules}
