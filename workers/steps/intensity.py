"""Steps that change values and move nothing."""

from collections.abc import Mapping

import numpy as np

from dicom_node.domain import steps
from dicom_node.domain.arrays import BoolArray, FloatArray
from reports.window import voi_levels
from workers.steps.prepared import Prepared, Run

AXES = {"image": (1, 2), "series": (0, 1, 2)}
"""Of ``Prepared.values``, that a statistic is taken over; channels always stay apart."""
TINY = 1e-6


def window(prepared: Prepared, step: steps.Window) -> Prepared:
    """Clip to the window and scale to 0..1."""
    low = step.center - step.width / 2
    return prepared.having(np.clip((prepared.values - low) / step.width, 0, 1))


def voi(prepared: Prepared, _: steps.Voi) -> Prepared:
    """By the window or VOI LUT of each image's header."""
    levels = []
    for number, frame in enumerate(prepared.values[..., 0]):
        counted = prepared.counted(number)
        like = frame if counted is None else frame[counted]
        levels.append(voi_levels(frame, *prepared.header(number), like=like))
    return prepared.having(np.stack(levels)[..., None])


def monochrome1(prepared: Prepared, _: steps.Monochrome1) -> Prepared:
    """Low values bright becomes high values bright."""
    headers = (prepared.header(number)[0] for number in range(len(prepared.values)))
    inverse = [header.get("PhotometricInterpretation") == "MONOCHROME1" for header in headers]
    values = prepared.values.copy()
    values[inverse] = 1 - values[inverse]
    return prepared.having(values)


def rescale(prepared: Prepared, step: steps.Rescale) -> Prepared:
    """A line."""
    return prepared.having(prepared.values * step.slope + step.intercept)


def standardize(prepared: Prepared, step: steps.Standardize) -> Prepared:
    """By the mean and the deviation of the training data."""
    return prepared.having((prepared.values - step.mean) / step.deviation)


def z_score(prepared: Prepared, step: steps.ZScore) -> Prepared:
    """By the images' own mean and deviation; 0 where all values are equal."""
    known, axes = prepared.known, AXES[step.over]
    padded = prepared.padding is not None
    mean, std = (np.nanmean, np.nanstd) if padded else (np.mean, np.std)
    centred = prepared.values - mean(known, axes, keepdims=True, dtype=np.float64)
    deviation = std(known, axes, keepdims=True, dtype=np.float64)
    return prepared.having(centred / np.maximum(deviation, TINY))


def clip_percentiles(prepared: Prepared, step: steps.ClipPercentiles) -> Prepared:
    """A window between percentiles."""
    percentile = np.percentile if prepared.padding is None else np.nanpercentile
    low, high = percentile(prepared.known, [step.low, step.high], AXES[step.over], keepdims=True)
    return prepared.having(np.clip((prepared.values - low) / np.maximum(high - low, TINY), 0, 1))


def histogram_equalization(prepared: Prepared, step: steps.HistogramEqualization) -> Prepared:
    """By the cumulative histogram."""
    from skimage.exposure import equalize_hist

    def equal(values: FloatArray, counted: BoolArray | None) -> FloatArray:
        return np.asarray(equalize_hist(values, step.bins, counted), np.float32)

    if step.over == "image":
        return prepared.each_counted(equal)
    counted = None if prepared.padding is None else ~np.isnan(prepared.known[..., 0])
    by_channel = [equal(channel, counted) for channel in np.moveaxis(prepared.values, -1, 0)]
    return prepared.having(np.stack(by_channel, -1))


def clahe(prepared: Prepared, step: steps.Clahe) -> Prepared:
    """Each image by its own range."""
    from skimage.exposure import equalize_adapthist

    rows, columns = prepared.values.shape[1:3]
    tile = (max(1, rows // step.tiles), max(1, columns // step.tiles))

    def adapt(plane: FloatArray, counted: BoolArray | None) -> FloatArray:
        known = plane if counted is None else plane[counted]
        low, high = known.min(), known.max()
        levels = np.clip((plane - low) / max(float(high - low), TINY), 0, 1)
        return np.asarray(equalize_adapthist(levels, tile, step.limit), np.float32)

    return prepared.each_counted(adapt)


def log(prepared: Prepared, _: steps.Log) -> Prepared:
    """ln(1 + value)."""
    return prepared.having(np.log1p(np.maximum(prepared.values, 0)))


def gamma(prepared: Prepared, step: steps.Gamma) -> Prepared:
    """A power."""
    return prepared.having(np.maximum(prepared.values, 0) ** step.gamma)


STEPS: Mapping[type, Run] = {
    steps.Window: window,
    steps.Voi: voi,
    steps.Monochrome1: monochrome1,
    steps.Rescale: rescale,
    steps.Standardize: standardize,
    steps.ZScore: z_score,
    steps.ClipPercentiles: clip_percentiles,
    steps.HistogramEqualization: histogram_equalization,
    steps.Clahe: clahe,
    steps.Log: log,
    steps.Gamma: gamma,
}
