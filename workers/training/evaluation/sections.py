"""What an evaluation is made of: figures of all cases, and a part of the page for each answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup

from dicom_node.domain.outputs import Target
from workers.training.evaluation import boxes, outlines, pictures, places, quantities
from workers.training.evaluation.curves import precision_recall, reliability, roc
from workers.training.evaluation.figures import Cases, Values, answered, by_target
from workers.training.measures import Figure

Counts = Mapping[str, Mapping[str, int]]
"""Of each truth, how many cases got each call."""
THERE, NOT_THERE = "present", "absent"


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    charts: Sequence[Markup]
    figures: Mapping[str, Figure] = field(default_factory=dict)
    counts: Counts | None = None
    note: str = ""


def overall(cases: Cases) -> Mapping[str, Figure]:
    """By name: of all that the bundle says of a case, and that the data knows of it."""
    return {
        **(answered(cases) if cases.manifest.targets else {}),
        **quantities.figures(cases),
        **outlines.figures(cases),
        **boxes.figures(cases),
        **pictures.figures(cases),
        **places.figures(cases),
    }


def scores(cases: Cases) -> Mapping[str, Values]:
    """What subgroups are compared by: a number of each case."""
    right = [float(each) for each in cases.right]
    found = {
        **({"Cases called right": right} if cases.manifest.targets else {}),
        **quantities.scores(cases),
        **outlines.scores(cases),
        **pictures.scores(cases),
    }
    return {
        name: values for name, values in found.items() if any(value is not None for value in values)
    }


def sections(cases: Cases) -> Iterator[Section]:
    """In the order of the page."""
    manifest = cases.manifest
    if manifest.targets:
        yield _calibration(cases)
    if cases.exclusive:
        yield Section("What was called what", (), counts=confusion(cases))
    for column, target in enumerate(manifest.targets):
        yield _target(cases, column, target)
    for quantity in quantities.quantities(manifest.regression):
        yield Section(quantity.label, quantities.charts(cases, quantity), note=BLAND_ALTMAN)
    plan = manifest.segmentation
    for channel in outlines.measured(manifest) if plan else ():
        label = plan.segments[channel].label if plan else ""
        yield Section(f"Outlines: {label}", outlines.charts(cases, label), note=DISTRIBUTION)
    if manifest.image is not None:
        yield Section(manifest.image.description, pictures.charts(cases), note=LIKENESS)


def confusion(cases: Cases) -> Counts:
    """How many cases of each truth got each call; "none" is the last of both."""
    names = [*(target.label for target in cases.manifest.targets), "none"]
    true, called = (
        np.where(values.any(axis=1), values.argmax(axis=1), len(names) - 1)
        for values in (cases.truth, cases.calls)
    )
    return {
        name: {other: int(((true == t) & (called == c)).sum()) for c, other in enumerate(names)}
        for t, name in enumerate(names)
    }


def two_by_two(cases: Cases, column: int) -> Counts:
    """The same of one target that no other excludes, at its operating point."""
    truth, calls = cases.truth[:, column], cases.calls[:, column]
    return {
        name: {
            other: int(((truth == true) & (calls == called)).sum())
            for other, called in ((THERE, True), (NOT_THERE, False))
        }
        for name, true in ((THERE, True), (NOT_THERE, False))
    }


def _calibration(cases: Cases) -> Section:
    return Section("Calibration", [reliability(cases)], note=RELIABILITY)


def _target(cases: Cases, column: int, target: Target) -> Section:
    truth = cases.truth[:, column]
    charts, note = [], ONE_SIDED
    if truth.any() and not truth.all():
        charts = [roc(cases, column), precision_recall(cases, column)]
        note = OPERATING.format(target.threshold, cases.unit)
    if cases.manifest.detection is not None:
        charts += boxes.froc(cases, target)
        note += BOXES
    return Section(
        target.label,
        charts,
        by_target(cases, column),
        None if cases.exclusive else two_by_two(cases, column),
        note,
    )


RELIABILITY = (
    "Points say how often a stated probability came true, grey bars how many statements lie there."
)
OPERATING = (
    "Operating point: a probability of {}; it is the red dot. Shaded: 95 % of samples of {}."
)
ONE_SIDED = "Curves need cases that show it, and cases that do not."
BOXES = (
    " FROC: a box finds what its middle lies in the surrounding box of; each is found once, and "
    "other boxes are false. Its dot is of boxes, those of the other curves are of cases."
)
BLAND_ALTMAN = "Blue: the bias; red: the limits of agreement, which hold 95 % of differences."
DISTRIBUTION = (
    "Bars: cases; red: the median. Where nothing is there and nothing is outlined, Dice is 1; a "
    "distance needs both."
)
LIKENESS = (
    "Above the line the model made images more like their references. Both are measured in the "
    "range of the reference; SSIM is the mean of its slices."
)
