"""What the whole pipeline finds in phantoms that training never saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.findings import Presence
from dicom_node.domain.provenance import Provenance
from dicom_node.testing.phantom import Phantom, phantom
from workers.analysis import analyse_images
from workers.model import Model
from workers.progress import Progress
from workers.training.measures import Figure, calibration_error, dice, mean, proportion, share_of
from workers.training.slices import SIZES, SPACINGS_MM, label_slices, source_images

SLICES = 24
EDGES_MM = (22, 28)
FEW = 5
MAPS = "Heat map regions centred on a lesion"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One phantom: what was planted, and what the pipeline said."""

    planted: int
    largest_mm: float
    """Diameter of a ball of the volume of the largest lesion; 0 without any."""
    present: bool
    dice: float
    """Of all lesions together, on the phantom's own grid."""
    probabilities: NDArray[np.float64]
    """(slices,)."""
    labels: BoolArray
    sure: BoolArray
    """(slices,): shows a lesion; and whether that is beyond doubt."""
    hits: tuple[bool, ...]
    """For each region that a heat map names: its centre lies in a planted lesion."""


def held_out_phantom(seed: int) -> Phantom:
    """A phantom with a lesion for an even seed, two for each sixth, and none for an odd one."""
    rng = np.random.default_rng([seed, 2])
    return phantom(
        seed,
        lesions=0 if seed % 2 else 2 if seed % 6 == 0 else 1,
        slices=SLICES,
        size=int(rng.choice(SIZES)),
        slice_spacing_mm=float(rng.choice(SPACINGS_MM)),
    )


def evaluate(
    model: Model, seeds: Sequence[int], progress: Progress
) -> Mapping[str, Mapping[str, Figure]]:
    """Detection of phantoms, overlap of the lesions, and where the heat maps point.

    By subgroup: of all phantoms (an empty name), and of those whose largest lesion is of a size.
    """
    outcomes = []
    for done, seed in enumerate(seeds):
        source = held_out_phantom(seed)
        outcomes.append(outcome(source, analyse_images(source_images(source), model, PROVENANCE)))
        progress("measuring", (done + 1) / len(seeds))
    ill = [each for each in outcomes if each.planted]
    well = [each for each in outcomes if not each.planted]
    called, *others = _found(ill).items()
    right = proportion(sum(not e.present for e in well), len(well))
    everything = dict([called, ("Phantoms without a lesion called absent", right), *others])
    everything["Calibration error of slice probabilities"] = _calibration(outcomes)
    return {"": everything, **by_size(ill)}


def by_size(ill: Sequence[Outcome]) -> Mapping[str, Mapping[str, Figure]]:
    """Of bands with ``FEW`` phantoms at least, small lesions first."""
    bands = np.searchsorted(EDGES_MM, [each.largest_mm for each in ill], side="right")
    small, large = EDGES_MM
    names = (f"below {small} mm", f"{small} to {large} mm", f"{large} mm and more")
    members = [[e for e, band in zip(ill, bands, strict=True) if band == n] for n in range(3)]
    pairs = zip(names, members, strict=True)
    return {f"largest lesion: {name}": _found(own) for name, own in pairs if len(own) >= FEW}


def _found(ill: Sequence[Outcome]) -> Mapping[str, Figure]:
    """Of phantoms with a lesion."""
    hits = np.array([hit for each in ill for hit in each.hits], bool)
    owners = np.repeat(np.arange(len(ill)), [len(each.hits) for each in ill])
    dices = np.array([each.dice for each in ill])
    return {
        "Phantoms with a lesion called present": proportion(sum(e.present for e in ill), len(ill)),
        "Mean Dice of the lesion outlines": mean(dices, np.arange(len(ill))),
        **({MAPS: share_of(hits, owners)} if len(hits) else {}),
    }


def outcome(source: Phantom, analysis: Analysis) -> Outcome:
    """Compare an analysis with the truth."""
    present = [f for f in analysis.findings if f.presence is Presence.PRESENT]
    outlined = np.zeros_like(source.body)
    for finding in present:
        if finding.segment is not None:
            outlined |= finding.segment.mask
    regions = [f.explanation.region if f.explanation else None for f in present]
    hits = tuple(
        region is not None and bool(source.lesion[tuple(round(c) for c in region.centroid)])
        for region in regions
    )
    labels, weights = label_slices(source)
    return Outcome(
        planted=len(source.lesions),
        largest_mm=_largest_mm(source),
        present=bool(present),
        dice=dice(source.lesion, outlined),
        probabilities=analysis.prediction.probabilities[:, 0].astype(np.float64),
        labels=labels > 0,
        sure=weights > 0,
        hits=hits,
    )


def _largest_mm(source: Phantom) -> float:
    voxels = max((int(mask.sum()) for mask in source.lesions), default=0)
    return float(np.cbrt(6 * voxels * np.prod(source.spacing_mm) / np.pi))


def _calibration(outcomes: Sequence[Outcome]) -> Figure:
    sure = np.concatenate([each.sure for each in outcomes])
    owners = np.repeat(np.arange(len(outcomes)), [len(each.sure) for each in outcomes])
    return calibration_error(
        np.concatenate([each.probabilities for each in outcomes])[sure],
        np.concatenate([each.labels for each in outcomes])[sure],
        owners[sure],
    )


PROVENANCE = Provenance("2.25.1", 1, "", "", "", datetime(2026, 1, 1))
"""Of no study: evaluation writes no results."""
