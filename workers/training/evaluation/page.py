"""The evaluation as one page: self-contained, no script, no outside request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dicom_node import __version__
from dicom_node.catalog import BundleFolder
from workers.memory import peak_gib
from workers.training.evaluation.figures import Cases
from workers.training.evaluation.learnt import NOBODY
from workers.training.evaluation.scope import Scope
from workers.training.evaluation.sections import Section, overall, scores, sections
from workers.training.evaluation.seen import Seen
from workers.training.evaluation.subgroups import Subgroup, subgroups
from workers.training.measures import Figure

TEMPLATE = "page.html"
FACT_NAMES = {
    "sex": "Sex",
    "age": "Age",
    "manufacturer": "Manufacturer",
    "slice_thickness": "Slice thickness",
    "largest_area": "Area of the finding in its largest slice",
}


@dataclass(frozen=True)
class Evaluation:
    """All figures of one bundle on one data set."""

    bundle: BundleFolder
    data: str
    """What it was measured on, in words."""
    cases: Cases
    figures: Mapping[str, Figure]
    sections: Sequence[Section]
    subgroups: Mapping[str, Sequence[Subgroup]]
    peak_gib: float
    """Memory of the process that asked the model, at its peak."""
    scope: Scope | None = None
    learnt: str = NOBODY
    """Whether the bundle is made of these cases, in words."""


def evaluate(
    bundle: BundleFolder,
    data: str,
    seen: Sequence[Seen],
    scope: Scope | None = None,
    learnt: str = NOBODY,
) -> Evaluation:
    """Figures of what the bundle said of at least one case."""
    cases = Cases(seen, bundle.manifest)
    return Evaluation(
        bundle,
        data,
        cases,
        overall(cases),
        list(sections(cases)),
        subgroups(cases, scores(cases)),
        peak_gib(),
        scope,
        learnt,
    )


def page(evaluation: Evaluation) -> str:
    """The page as HTML; every value is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    return environment.get_template(TEMPLATE).render(_values(evaluation))


def _values(evaluation: Evaluation) -> dict[str, Any]:
    cases, manifest = evaluation.cases, evaluation.bundle.manifest
    seconds = [each.seconds for each in cases.seen]
    return {
        "evaluation": evaluation,
        "manifest": manifest,
        "version": __version__,
        "whose": whose(cases),
        "fact_names": FACT_NAMES,
        "seconds": {"median": np.median(seconds), "longest": max(seconds)},
        "frames": float(np.median([each.frames for each in cases.seen])),
    }


def whose(cases: Cases) -> str:
    """How many patients the cases are of, as far as the data says it."""
    count, known = len(cases.seen), len(cases.seen) - cases.unknown
    if not cases.unknown:
        return f"{count} cases of {_patients(cases)}"
    alone = "each counts by itself, and where patients have several, intervals are too narrow"
    if not known:
        return f"{count} cases; the data does not say who the patients are: {alone}"
    return (
        f"{known} cases of {_patients(cases)}, and {cases.unknown} cases of which the data "
        f"does not say who they are of: {alone}"
    )


def _patients(cases: Cases) -> str:
    return f"{cases.patients} patient{'' if cases.patients == 1 else 's'}"


def _figure(figure: Figure) -> Markup:
    """A value, and its interval where it has one: one point says nothing."""
    if np.isnan(figure.value):
        return Markup("not measured")
    if not figure.low < figure.high:
        return Markup("<b>{:.3f}</b>").format(figure.value)
    return Markup("<b>{:.3f}</b> ({:.3f} to {:.3f})").format(figure.value, figure.low, figure.high)
