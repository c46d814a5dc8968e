"""What is measured of ``brain-mr-tumour``: on patients it has not seen, and on what is no brain."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dicom_node.domain.manifest import ModelManifest, SeriesSelection
from dicom_node.testing.inserts import cylinder
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study
from workers.model import Model
from workers.progress import Progress
from workers.training.brain.any_tumour import SUBGROUP, any_tumour, of_made
from workers.training.brain.cross_fit import cross_fitted
from workers.training.brain.data import CHENG_MM, collect
from workers.training.brain.example import HEADERS
from workers.training.dataset import Example
from workers.training.evaluation.cases import look
from workers.training.evaluation.figures import Cases
from workers.training.evaluation.scope import (
    Foreign,
    by_kind,
    foreign,
    held_out,
    inside,
    owners,
    scope,
)
from workers.training.evaluation.sections import overall, scores
from workers.training.evaluation.seen import Seen
from workers.training.evaluation.subgroups import subgroups
from workers.training.measures import Figure, Measured

PHANTOMS = range(80_000, 80_010)
"""Seeds of phantoms that pass for contrast T1 series by their headers."""
LIMIT_OF = "the limit of each half of the choosing fold is set by the other half"
PHANTOM = "phantoms"
RIGHT, LIKELIEST = "Cases called right", "Likeliest type is right"
BODY = ("BodyPartExamined", "StudyDescription")
HEAD = re.compile("head|brain", re.IGNORECASE)


def measure(
    model: Model,
    examples: Sequence[Example],
    measured_on: str,
    out_of_scope: Path | None,
    progress: Progress,
) -> tuple[Measured, ...]:
    """The figures of the card: of all cases, by the size of the tumour, and of other images.

    Series of ``out_of_scope``, a folder, are asked about beside phantoms.
    """
    seen = list(look(model, examples, spacing_mm=CHENG_MM, progress=progress))
    cases = Cases(cross_fitted(seen), model.manifest)
    return (
        Measured({**overall(cases), **likeliest_type(seen, model.manifest)}, measured_on),
        *_subgroups(cases, measured_on),
        Measured(any_tumour(seen, model.manifest), measured_on, SUBGROUP),
        *of_made(model, examples, collect(examples, progress), progress),
        *_scope(model, seen, out_of_scope, progress),
    )


def likeliest_type(seen: Sequence[Seen], manifest: ModelManifest) -> Mapping[str, Figure]:
    """How often the likeliest type is that of the tumour, whether or not one is called: what is
    published of this data has no answer "no tumour"."""
    typed = [
        replace(each, called=np.arange(len(each.called)) == each.probabilities.argmax())
        for each in seen
    ]
    return {LIKELIEST: overall(Cases(typed, manifest))[RIGHT]}


def _subgroups(cases: Cases, measured_on: str) -> Iterator[Measured]:
    for each in subgroups(cases, scores(cases)).get("largest_area", ()):
        figures = {name: gap.value for name, gap in each.scores.items()}
        yield Measured(figures, measured_on, f"tumour area: {each.name}")


def _scope(
    model: Model, seen: Sequence[Seen], folder: Path | None, progress: Progress
) -> Iterator[Measured]:
    first = {*list(dict.fromkeys(each.patient for each in seen))[::2]}
    halves = [[e for e in seen if (e.patient in first) is chosen] for chosen in (True, False)]
    with TemporaryDirectory() as scratch:
        made = list(foreign(model, _save_phantoms(Path(scratch)), progress))
    found = list(foreign(model, folder, progress)) if folder else []
    data = f"{_words(found, made)}; {LIMIT_OF}"
    within, whose = held_out(*map(inside, halves)), owners([e for half in halves for e in half])
    yield Measured(scope(within, [*found, *made], whose).figures, data)
    kinds = by_kind(found, partial(kind, model.manifest.selection))
    for name, figures in {**kinds, **by_kind(made, lambda _: PHANTOM)}.items():
        yield Measured(figures, data, name)


def kind(selection: SeriesSelection, series: Foreign) -> str:
    """In what a series differs from those that are selected, by what its headers say.

    All planes are in scope, but not several in one series.
    """
    if series.modality not in selection.modality:
        return "another modality"
    if series.headers.get("Orientation") not in selection.orientation:
        return "MR in several planes, or in none"
    parts = (str(series.headers.get(name) or "") for name in BODY)
    said = " ".join(part for part in parts if part)
    if not said:
        return "MR of an unnamed body part"
    return "MR of a head, other sequence" if HEAD.search(said) else "MR of another body part"


def _save_phantoms(folder: Path) -> Path:
    """Trunks and cylinders, as MR of a head with contrast medium."""
    trunks = (phantom(seed, slices=3, size=96) for seed in PHANTOMS)
    cylinders = (cylinder(seed, ("disc",), slices=3).phantom for seed in PHANTOMS)
    for number, source in enumerate(chain(trunks, cylinders)):
        save_study(make_study(source, attributes=HEADERS), folder / f"{number}")
    return folder


def _words(found: Sequence[Foreign], made: Sequence[Foreign]) -> str:
    phantoms = f"{len(made)} phantoms with the headers of contrast T1 series of a head"
    if not found:
        return phantoms
    kinds = Counter(each.modality for each in found).most_common()
    named = ", ".join(f"{count} {modality or 'without modality'}" for modality, count in kinds)
    return f"{len(found)} series of public test files ({named}), and {phantoms}"
