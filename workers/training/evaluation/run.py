"""From a bundle and a data set to the page: what ``dicom-worker evaluate`` does."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom

from dicom_node.catalog import BundleFolder
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import ConfigurationError, Unusable
from dicom_node.send.command import dicom_files
from explain.outliers import Known
from workers.loading import load_model
from workers.model import Model
from workers.progress import Progress
from workers.training.dataset import Example, read_data
from workers.training.evaluation.cases import look
from workers.training.evaluation.page import evaluate, page
from workers.training.evaluation.scope import Scope, scope, scores
from workers.training.measures import Figure
from workers.training.reading import read_images
from workers.volume import read_series


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be measured."""

    data: Path
    folds: frozenset[str] = frozenset()
    """Empty: all of them."""
    names: Mapping[str, str] | None = None
    """Labels of the data by those that the bundle has."""
    spacing_mm: float | None = None
    out_of_scope: Path | None = None


def run(
    bundle: BundleFolder, question: Question, output: Path, progress: Progress
) -> Mapping[str, Figure]:
    """Write the page; returns the figures of all cases.

    Raises ConfigurationError for data without cases, what ``read_data`` and ``look`` raise, and
    what loading the bundle raises.
    """
    examples = asked_about(question)
    model = load_model(bundle)
    seen = list(
        look(
            model,
            examples,
            reference=model.reference,
            spacing_mm=question.spacing_mm,
            progress=progress,
        )
    )
    found = evaluate(bundle, words(question), seen, _scope(model, question, examples, progress))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page(found), "utf-8")
    return found.figures


def asked_about(question: Question) -> Sequence[Example]:
    """The cases of its folds. Raises ConfigurationError where there are none."""
    names = question.names or {}
    chosen = [e for e in read_data(question.data) if not question.folds or e.fold in question.folds]
    if not chosen:
        raise ConfigurationError(
            f"{question.data} has no cases in the folds {', '.join(sorted(question.folds))}"
        )
    return [replace(e, labels=frozenset(names.get(n, n) for n in e.labels)) for e in chosen]


def words(question: Question) -> str:
    """What the cases are called."""
    folds = f", fold {', '.join(sorted(question.folds))}" if question.folds else ""
    return f"{question.data.name}{folds}"


def _scope(
    model: Model, question: Question, examples: Sequence[Example], progress: Progress
) -> Scope | None:
    known = Known.of(model.reference)
    if question.out_of_scope is None:
        return None
    if known is None:
        raise ConfigurationError(
            f"{model.manifest.id} has no training features in its reference.npz: package it with "
            "some, or leave --out-of-scope out"
        )
    inside = [scores(model, known, read_images(e, question.spacing_mm)) for e in examples]
    outside = []
    for part, files in _series(question.out_of_scope):
        outside += _outside(model, known, files)
        progress("out of scope", part)
    return scope(np.concatenate(inside), np.concatenate([np.zeros(0), *outside]))


def _outside(model: Model, known: Known, files: Sequence[Path]) -> list[FloatArray]:
    """Scores of a series; none where it is refused before anything is asked about its pixels."""
    try:
        return [scores(model, known, read_series(files))]
    except Unusable:
        return []


def _series(folder: Path) -> Iterator[tuple[float, Sequence[Path]]]:
    """The files of each series, and the part of the series that is done with it."""
    found = defaultdict(list)
    for path in dicom_files(folder):
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        found[str(header.get("SeriesInstanceUID", path))].append(path)
    for done, files in enumerate(found.values(), 1):
        yield done / len(found), files
