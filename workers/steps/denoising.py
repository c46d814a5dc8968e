"""Steps that take away what the scanner added."""

from collections.abc import Mapping

import numpy as np

from dicom_node.domain import steps
from dicom_node.domain.arrays import FloatArray
from workers.steps.prepared import Prepared, Run

LEVELS = 3
TINY = 1e-6


def wavelet_denoise(prepared: Prepared, step: steps.WaveletDenoise) -> Prepared:
    """Soft thresholds, one for each scale and direction."""
    from skimage.restoration import denoise_wavelet

    def denoise(plane: FloatArray) -> FloatArray:
        if np.ptp(plane) < TINY:
            return plane
        return np.asarray(denoise_wavelet(plane, wavelet=step.wavelet, rescale_sigma=True))

    return prepared.each(denoise)


def non_local_means(prepared: Prepared, step: steps.NonLocalMeans) -> Prepared:
    """The more alike a patch, the more it counts."""
    from skimage.restoration import denoise_nl_means, estimate_sigma

    def denoise(plane: FloatArray) -> FloatArray:
        if np.ptp(plane) < TINY:
            return plane
        noise = max(float(estimate_sigma(plane)), TINY)
        return np.asarray(
            denoise_nl_means(plane, step.patch, step.distance, h=step.strength * noise, sigma=noise)
        )

    return prepared.each(denoise)


def bias_field(prepared: Prepared, step: steps.BiasField) -> Prepared:
    """Fitted where the image is brighter than Otsu's threshold; values must be at least 0."""
    spacing = prepared.spacing_mm or (1.0, 1.0, 1.0)
    if step.over == "image":
        return prepared.each(lambda plane: _without_bias(plane, step, spacing[1:]))
    by_channel = [
        _without_bias(volume, step, spacing) for volume in np.moveaxis(prepared.values, -1, 0)
    ]
    return prepared.having(np.stack(by_channel, -1))


def _without_bias(
    values: FloatArray, step: steps.BiasField, spacing: tuple[float, ...]
) -> FloatArray:
    """The axes of ``values`` are those of ``spacing``."""
    import SimpleITK as sitk  # noqa: N813 - its usual name

    if np.ptp(values) < TINY:
        return values
    image = sitk.GetImageFromArray(np.maximum(values, 0))
    image.SetSpacing(spacing[::-1])
    mask = sitk.OtsuThreshold(image, 0, 1)
    smaller = [min(step.shrink, size) for size in image.GetSize()]
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations([step.iterations] * LEVELS)
    corrector.Execute(sitk.Shrink(image, smaller), sitk.Shrink(mask, smaller))
    field = sitk.GetArrayFromImage(sitk.Exp(corrector.GetLogBiasFieldAsImage(image)))
    return np.asarray(values / np.maximum(field, TINY), np.float32)


STEPS: Mapping[type, Run] = {
    steps.WaveletDenoise: wavelet_denoise,
    steps.NonLocalMeans: non_local_means,
    steps.BiasField: bias_field,
}
