"""Whether series that are not what a bundle is for are noticed, and how often others are."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import ConfigurationError, DicomNodeError, UnsupportedModel, Unusable
from dicom_node.domain.images import SourceImages
from dicom_node.domain.study import AttributeValue, Instance, Series
from dicom_node.headers import DirectReader, read_study
from dicom_node.receive.part10 import keep_in
from dicom_node.routing import reason_against
from dicom_node.send.command import dicom_files
from dicom_node.store import InstanceStore
from explain.outliers import INSIDE, Known, score
from workers.model import Model
from workers.prediction import predict
from workers.preprocess import prepare
from workers.progress import Progress
from workers.training.evaluation.seen import Seen
from workers.training.measures import Figure, proportion, share_of
from workers.volume import read_input

LIMIT = 1.0
"""Of the score: see ``explain.outliers``."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A series of images that the bundle is not for."""

    refused: bool
    """By the rules of the manifest, or because it cannot be read."""
    scores: FloatArray
    """(frames,), whatever the rules say; empty where nothing can be read."""
    headers: Mapping[str, AttributeValue] = field(default_factory=dict)
    """Of its first image, with the StudyDescription, and the Orientation of all."""

    @property
    def modality(self) -> str:
        """Empty where the header does not say it."""
        return str(self.headers.get("Modality") or "")

    @property
    def flagged(self) -> bool:
        """As a report does it: most of its images are of another kind."""
        return bool(len(self.scores)) and bool(np.median(self.scores) > LIMIT)


@dataclass(frozen=True, slots=True)
class Scope:
    """Of series out of scope, and of images in scope."""

    noticed: Figure
    alone: Figure | None
    """None where no series can be read."""
    alarms: Figure

    @property
    def figures(self) -> Mapping[str, Figure]:
        """By name."""
        return {
            **_outside(self.noticed, self.alone),
            "Images in scope that are flagged as out of it": self.alarms,
        }


def _outside(noticed: Figure, alone: Figure | None) -> Mapping[str, Figure]:
    found = {
        "Series out of scope that are refused or flagged": noticed,
        "Series out of scope that are flagged by their images alone": alone,
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def known_to(model: Model) -> Known:
    """What a bundle knows of its training images. Raises ConfigurationError for one of nothing."""
    known = Known.of(model.reference)
    if known is None:
        raise ConfigurationError(
            f"{model.manifest.id} has no training features in its reference.npz: package it with "
            "some, or leave --out-of-scope out"
        )
    return known


def scores(model: Model, known: Known, images: SourceImages) -> FloatArray:
    """(frames,): above 1 is out of scope. Raises what ``prepare`` and ``predict`` raise."""
    prediction, _ = predict(model, prepare(images, model.manifest))
    if prediction.features is None:
        raise UnsupportedModel(
            f"{model.manifest.id} gives no features with its prediction: no score can be made"
        )
    return score(known, prediction.features)


def scope(within: FloatArray, outside: Sequence[Foreign], owners: NDArray[np.intp]) -> Scope:
    """From scores of images that the bundle is for, and from series that it is not for.

    ``owners``, (images,): of whom each is; images of one patient are alike. Raises
    ConfigurationError where there are no such series.
    """
    if not outside:
        raise ConfigurationError("out of scope there is no series of images: name another folder")
    alarms = share_of(within > LIMIT, owners)
    return Scope(*_told(outside), alarms)


def by_kind(
    outside: Iterable[Foreign], kind: Callable[[Foreign], str]
) -> Mapping[str, Mapping[str, Figure]]:
    """Figures of the series of each kind, by its name; the kind with the most series first."""
    kinds: dict[str, list[Foreign]] = {}
    for each in outside:
        kinds.setdefault(kind(each), []).append(each)
    ordered = sorted(kinds, key=lambda name: -len(kinds[name]))
    return {name: _outside(*_told(kinds[name])) for name in ordered}


def _told(outside: Sequence[Foreign]) -> tuple[Figure, Figure | None]:
    """How many are noticed at all, and how many of those that can be read by their images."""
    readable = [each for each in outside if len(each.scores)]
    flagged = sum(each.flagged for each in readable)
    return (
        proportion(sum(e.refused or e.flagged for e in outside), len(outside)),
        proportion(flagged, len(readable)) if readable else None,
    )


def inside(seen: Iterable[Seen]) -> FloatArray:
    """(images,): scores of all images of the cases, which the bundle is for."""
    return np.concatenate([np.zeros(0), *(e.unfamiliar for e in seen if e.unfamiliar is not None)])


def owners(seen: Iterable[Seen]) -> NDArray[np.intp]:
    """(images,): the number of the patient of each of ``inside``; a case of nobody is one."""
    known = [each for each in seen if each.unfamiliar is not None]
    whose = [number if each.patient is None else each.patient for number, each in enumerate(known)]
    numbers = {who: number for number, who in enumerate(dict.fromkeys(whose))}
    counts = [len(each.unfamiliar) for each in known if each.unfamiliar is not None]
    return np.repeat([numbers[who] for who in whose], counts)


def held_out(one: FloatArray, other: FloatArray) -> FloatArray:
    """Scores of both, each by the limit that the other sets, where there are both.

    One that sets its own is judge in its own cause.
    """
    if not len(one) or not len(other):
        return np.concatenate([one, other])
    limits = (np.quantile(values, INSIDE) for values in (other, one))
    return np.concatenate([v / limit for v, limit in zip((one, other), limits, strict=True)])


def foreign(model: Model, folder: Path, progress: Progress) -> Iterator[Foreign]:
    """Each series of images of a folder, as the node would take it: rules first, then the score.

    What holds no images, and files that no node would store, are left out.
    """
    known = known_to(model)
    with TemporaryDirectory() as scratch:
        store = InstanceStore(Path(scratch))
        found = list(_series(model, folder, store))
        for done, series in enumerate(found, 1):
            yield _foreign(model, known, series, [store.path(i.sha256) for i in series.instances])
            progress("out of scope", done / len(found))


def _foreign(model: Model, known: Known, series: Series, files: Sequence[Path]) -> Foreign:
    refused = reason_against(series, model.manifest.selection) is not None
    try:
        images = read_input(files, model.manifest.input)
        return Foreign(refused, scores(model, known, images), series.attributes)
    except Unusable:
        return Foreign(True, np.zeros(0, np.float32), series.attributes)


def _series(model: Model, folder: Path, store: InstanceStore) -> Iterator[Series]:
    keywords = {"StudyDescription", *(rule.keyword for rule in model.manifest.selection.rules)}
    kept = sorted(_kept(folder, store), key=lambda each: each.study_instance_uid)
    for uid, instances in groupby(kept, key=lambda each: each.study_instance_uid):
        study = read_study(uid, list(instances), store, DirectReader(), keywords)
        yield from (each for each in study.series if each.attributes.get("Rows") is not None)


def _kept(folder: Path, store: InstanceStore) -> Iterator[Instance]:
    """Each instance once, however many files hold it."""
    found: dict[tuple[str, str], Instance] = {}
    for path in dicom_files(folder):
        try:
            instance = keep_in(store, path.read_bytes())
        except DicomNodeError:
            continue
        found.setdefault((instance.study_instance_uid, instance.sop_instance_uid), instance)
    yield from found.values()
