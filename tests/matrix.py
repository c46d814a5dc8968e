"""The matrix: which cases there are, what each must yield, and the table of what was judged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import dressed
import judges
import sources
from task_results import BUNDLES as TASKS

from dicom_node.catalog import open_bundle, shipped_bundles
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.findings import Presence
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.outputs import Image

TABLE = Path(__file__).parent.parent / "matrix.md"
FOLDERS = {path.name: path for path in (*shipped_bundles(), *sorted(TASKS.iterdir()))}
BUNDLES = {name: open_bundle(path).manifest for name, path in FOLDERS.items()}
SHIPPED = {path.name: BUNDLES[path.name] for path in shipped_bundles()}
UNTAKEN = {"MG"}
"""What any small bundle answers, taken or not: images of no volume."""
ENCODED = ("CT", "legacy MR", "enhanced MR", "US cine", "DX")
"""Sources of one frame and of many, that lie in the patient and that do not."""
MULTI_FRAME = ("legacy CT", "enhanced CT")


@dataclass
class Table:
    """One line for each case that was judged."""

    lines: list[str] = field(default_factory=list)

    def add(self, case: Sequence[str], objects: str, judged: Sequence[str]) -> None:
        """What was made of a case, and the judges that found nothing wrong with it."""
        passed = ("yes" if judge in judged else "no" for judge in judges.JUDGES)
        self.lines.append(" | ".join((*case, objects, *passed)))

    def write(self) -> None:
        """As Markdown."""
        head = ("bundle", "source", "state", "objects", *judges.JUDGES)
        rule = ["---"] * len(head)
        rows = [" | ".join(head), " | ".join(rule), *sorted(self.lines)]
        TABLE.write_text("".join(f"| {row} |\n" for row in rows))


def makes_images(model: ModelManifest) -> bool:
    """Whether it gives an image for each of a series."""
    return any(isinstance(output, Image) for output in model.outputs)


def takes(bundle: str, source: str) -> bool:
    """Whether a manifest lets its bundle have such a series, dressed for it."""
    plan = BUNDLES[bundle].selection
    legacy = source.startswith("legacy") and bool(plan.sop_classes)
    return dressed.modality(source) in plan.modality and not legacy


def unread(bundle: str, source: str) -> str:
    """The reason for which a series that a bundle takes cannot be analysed; empty: it can."""
    if makes_images(BUNDLES[bundle]) and source in MULTI_FRAME:
        return "GEOMETRY"
    return dressed.UNREADABLE.get(source, "")


def cases() -> Iterator[tuple[str, str, Presence]]:
    """What each bundle takes and can read; shipped ones are asked about any other source, too."""
    for bundle, source in product(BUNDLES, dressed.KINDS):
        others = sources.KINDS if bundle in SHIPPED else UNTAKEN
        asked = source in others and not makes_images(BUNDLES[bundle])
        if (asked or takes(bundle, source)) and not unread(bundle, source):
            yield from ((bundle, source, state) for state in _states(bundle))


def _states(bundle: str) -> Sequence[Presence]:
    """A model without targets is never open about one."""
    return tuple(Presence) if BUNDLES[bundle].targets else (Presence.PRESENT, Presence.ABSENT)


def first(bundle: str) -> str:
    """A source that it takes and can read."""
    return next(s for s in dressed.KINDS if takes(bundle, s) and not unread(bundle, s))


def refusals() -> dict[str, list[str]]:
    """By source, the bundles that do not take it."""
    return {
        source: [bundle for bundle in BUNDLES if not takes(bundle, source)]
        for source in dressed.KINDS
    }


def failures() -> Iterator[tuple[str, str]]:
    """What a bundle takes, and cannot read."""
    for bundle, source in product(BUNDLES, dressed.KINDS):
        if takes(bundle, source) and unread(bundle, source):
            yield bundle, source


def encoded() -> Iterator[tuple[str, str, Presence]]:
    """Whatever is drawn; of nothing but the body on one source."""
    for bundle, model in SHIPPED.items():
        for source, state in product(ENCODED, Presence):
            if state is Presence.PRESENT or (source == "CT" and drawn(model, state)):
                yield bundle, source, state


def drawn(model: ModelManifest, state: Presence) -> bool:
    """Whether there is a segment: of what is there, or of what it lies in."""
    located = {target.located_by for target in model.targets}
    segments = model.segmentation.segments if model.segmentation else ()
    around = any(segment.label not in located for segment in segments)
    return bool(segments) and (state is Presence.PRESENT or bool(located and around))


def outlines_alone(model: ModelManifest) -> bool:
    """Whether its answers are segments: what is not there is missing, and nothing is explained."""
    return [output.kind for output in model.outputs] == ["segmentation"]


def boxed(model: ModelManifest) -> bool:
    """Whether it answers in boxes."""
    return any(plan.kind == "detection" for plan in model.outputs)


def expected(bundle: str, source: str, state: Presence) -> set[ResultKind]:
    """What a case must yield: no data map without geometry, no outline or key image of nothing."""
    model, kinds = BUNDLES[bundle], set(ResultKind) - {ResultKind.REJECTION_NOTE}
    if not makes_images(model):
        kinds -= {ResultKind.DERIVED_IMAGE}
    mapped = model.explained is not None and model.explanation.method != "shapley"
    missing = state is Presence.ABSENT and outlines_alone(model)
    if source in dressed.FLAT or not mapped or missing:
        kinds -= {ResultKind.PARAMETRIC_MAP, ResultKind.COLOR_PRESENTATION_STATE}
    if not drawn(model, state):
        kinds -= {ResultKind.SEGMENTATION}
    if not (drawn(model, state) or (boxed(model) and state is Presence.PRESENT)):
        kinds -= {ResultKind.PRESENTATION_STATE}
    if missing or (state is Presence.ABSENT and model.targets):
        kinds -= {ResultKind.KEY_OBJECTS}
    return kinds
