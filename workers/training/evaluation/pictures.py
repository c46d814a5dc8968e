"""Image to image: how like a reference the images are, before the model and after it."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.images import SourceImages
from dicom_node.domain.prediction import DerivedImages
from explain.projection import Grid
from workers.training.dataset import Example
from workers.training.evaluation import drawing
from workers.training.evaluation.figures import Cases, Values
from workers.training.evaluation.seen import Picture
from workers.training.measures import Figure


def picture(
    example: Example, source: FloatArray, derived: DerivedImages | None, wanted: SourceImages | None
) -> Picture | None:
    """On the reference's pixels, which are the source's, or those that the model makes.

    Raises ConfigurationError for a reference with neither.
    """
    if derived is None or wanted is None:
        return None
    reference, made = wanted.pixels, derived.pixels
    grid = Grid(source.shape[1:], made.shape[1:], derived.step, derived.offset)
    if reference.shape == made.shape:
        before, after = grid.sample(source), made
    elif reference.shape == source.shape:
        before, after = source, grid.project(made)
    else:
        raise ConfigurationError(
            f"the reference of {example.name} has the shape {reference.shape}, its images have "
            f"{source.shape}, and what the model makes of them {made.shape}: give one of those two"
        )
    return Picture(*_noise(reference, before, after), *_likeness(reference, before, after))


def figures(cases: Cases) -> Mapping[str, Figure]:
    """After the model, and before it."""
    return cases.means(
        {
            "PSNR of the images it makes (dB)": _values(cases, "psnr_after"),
            "PSNR of the images as they came (dB)": _values(cases, "psnr_before"),
            "SSIM of the images it makes": _values(cases, "ssim_after"),
            "SSIM of the images as they came": _values(cases, "ssim_before"),
        }
    )


def scores(cases: Cases) -> Mapping[str, Values]:
    """For subgroups."""
    return {"SSIM of the images it makes": _values(cases, "ssim_after")}


def charts(cases: Cases) -> Sequence[Markup]:
    """After over before: above the line the model made an image better."""
    found = [each.picture for each in cases.seen if each.picture is not None]
    if not found:
        return []
    pairs = {
        "PSNR (dB)": [(each.psnr_before, each.psnr_after) for each in found],
        "SSIM": [(each.ssim_before, each.ssim_after) for each in found],
    }
    return [_after_over_before(name, each) for name, each in pairs.items()]


def _after_over_before(name: str, pairs: Sequence[tuple[float, float]]) -> Markup:
    scale = drawing.Scale.holding([value for pair in pairs for value in pair])
    dots = [
        drawing.dot((scale(before), scale(after)), "case", f"{before:.4g}, then {after:.4g}", 3)
        for before, after in pairs
    ]
    axes = "as they came", "as the model makes them"
    return drawing.chart(name, *axes, [drawing.diagonal(), *dots], (scale, scale))


def _noise(reference: FloatArray, *images: FloatArray) -> tuple[float, ...]:
    span = _range(reference)
    with np.errstate(divide="ignore"):  # infinite of what is the same
        return tuple(
            float(peak_signal_noise_ratio(reference, each, data_range=span)) for each in images
        )


def _likeness(reference: FloatArray, *images: FloatArray) -> tuple[float, ...]:
    """Image by image, for the slices of a series are seen one by one."""
    span = _range(reference)
    return tuple(
        float(
            np.mean(
                [
                    structural_similarity(wanted, made, data_range=span)
                    for wanted, made in zip(reference, each, strict=True)
                ]
            )
        )
        for each in images
    )


def _range(reference: FloatArray) -> float:
    return max(float(np.ptp(reference)), 1e-6)


def _values(cases: Cases, name: str) -> Values:
    return [None if each.picture is None else getattr(each.picture, name) for each in cases.seen]
