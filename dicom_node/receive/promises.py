"""What was promised of the studies that receive: the ledger's expectations, read no more often
than they can have changed."""

from collections.abc import Collection, Hashable, Sequence

from dicom_node.ledger import Ledger, OpenStudy
from dicom_node.ledger.expectations import Source, Standing
from dicom_node.settings.node import Settings

RECHECK_S = 15.0
"""Our own results reach the PACS that counts them, which no mark shows."""


class Promises:
    """Looks up how each study stands; remembers the answer while nothing moves."""

    def __init__(
        self, ledger: Ledger, sources: Collection[Source], archives: Collection[str]
    ) -> None:
        self._ledger = ledger
        self._sources = sources
        self._archives = archives
        self._marks: dict[str, Hashable] = {}
        self._known: dict[str, tuple[Hashable, float, Standing | None]] = {}

    def refresh(self, receiving: Sequence[OpenStudy]) -> None:
        """Begin a pass over the studies that receive."""
        if not self._sources:
            return
        self._marks = self._ledger.expectations.marks(self._sources)
        uids = {study.study_instance_uid for study in receiving}
        self._known = {uid: known for uid, known in self._known.items() if uid in uids}

    def standing(self, study: OpenStudy, now: float) -> Standing | None:
        """How a study stands; none where nothing was announced. ``now`` is monotonic, seconds."""
        uid = study.study_instance_uid
        if uid not in self._marks:
            return None
        key = (study.arrivals, self._marks[uid])
        before = self._known.get(uid)
        if before is None or before[0] != key or now - before[1] >= RECHECK_S:
            standing = self._ledger.expectations.standing(uid, self._sources, self._archives)
            before = self._known[uid] = (key, now, standing)
        return before[2]


def promises(settings: Settings, ledger: Ledger) -> Promises:
    """Of the sources that the settings name."""
    wanted = settings.completeness
    sources = [Source(name) for name in wanted.expect]
    if wanted.pacs is None:
        return Promises(ledger, sources, ())
    title = wanted.pacs.ae_title
    archives = [d.name for d in settings.destinations if d.ae_title == title]
    return Promises(ledger, [*sources, Source.FIND], archives)
