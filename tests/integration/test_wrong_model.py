"""A model that learnt a letter beside the patient instead of the lesion is found out by its maps.

It has the network and the outlines of the shipped bundle, and its maps are faithful: they show
the letter. The same series are asked of the right model, which does not mind the letter.
"""

import numpy as np
import pytest

from dicom_node.catalog import open_bundle, shipped_bundles
from dicom_node.domain.explanation import Trust
from dicom_node.domain.findings import Finding, Presence
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.testing.phantom import phantom

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(900)]

SEEDS = range(31_000, 31_030)
SLICES, SIDE, SPACING_MM = 6, 160, 7.0
"""Pixels of 2.25 mm, as the model reads them."""
TRUSTS = (Trust.RELIABLE, Trust.CAUTION, Trust.NOT_RELIABLE)


def lettered(seed: int, *, letter: bool) -> SourceImages:
    """A phantom with a lesion, and with a letter in the corner of each slice."""
    from workers.training.misled import corner_letter
    from workers.training.slices import source_images

    source = phantom(seed, slices=SLICES, size=SIDE, slice_spacing_mm=SPACING_MM)
    images = source_images(source)
    if not letter:
        return images
    mark = np.zeros((SIDE, SIDE), np.float32)
    corner_letter(mark, np.random.default_rng(seed))
    pixels = np.where(mark > 0, -160 + 400 * mark, images.pixels).astype(np.float32)
    frames = tuple(FrameReference("1.2", f"2.25.{n + 1}") for n in range(SLICES))
    return SourceImages((), frames, pixels, images.affine)


@pytest.fixture(scope="module")
def models():
    """The shipped one, and its twin; costly numbers are left out, for the verdict needs none."""
    import keras

    from workers.bundle import reference_of
    from workers.keras_model import KerasModel
    from workers.training.misled import corner_letter, misled
    from workers.training.slices import collect

    path = next(path for path in shipped_bundles() if path.name == "phantom-lesion")
    bundle = open_bundle(path)
    explanation = bundle.manifest.explanation.model_copy(update={"measure_passes": 0})
    manifest = bundle.manifest.model_copy(update={"explanation": explanation})
    network = keras.saving.load_model(path / "model.keras", compile=False)
    slices = collect(range(32_000, 32_012), manifest, lambda *_: None)
    twin = misled(network, slices, corner_letter, seed=5)
    reference = reference_of(bundle)
    return {
        "right": KerasModel(manifest, network, reference),
        "wrong": KerasModel(manifest, twin, reference),
    }


@pytest.fixture(scope="module")
def said(models) -> dict[str, list[Finding]]:
    """Present findings: of the right model with and without letters, of the wrong one with."""
    from workers.analysis import analyse_images
    from workers.training.evaluate import PROVENANCE

    found: dict[str, list[Finding]] = {"right": [], "wrong": []}
    for seed in SEEDS:
        for name, model in models.items():
            images = lettered(seed, letter=name == "wrong" or seed % 2 == 0)
            analysis = analyse_images(images, model, PROVENANCE)
            found[name] += [f for f in analysis.findings if f.presence is Presence.PRESENT]
    return found


def flagged(findings: list[Finding]) -> float:
    trusts = [finding.explanation.quality.trust for finding in findings]
    return float(np.mean([trust is Trust.NOT_RELIABLE for trust in trusts]))


def test_the_wrong_model_is_found_out_and_the_right_one_is_not_suspected(said, record_property):
    rows = [
        f"{name:>8}"
        + "".join(
            f"{sum(f.explanation.quality.trust is trust for f in findings):>14}" for trust in TRUSTS
        )
        for name, findings in said.items()
    ]
    head = " " * 8 + "".join(f"{trust.value:>14}" for trust in TRUSTS)
    record_property("printed", "\n".join((head, *rows)))
    assert min(len(findings) for findings in said.values()) >= 20
    assert flagged(said["wrong"]) >= 0.95
    assert flagged(said["right"]) <= 0.05


def test_the_reason_names_what_gives_it_away(said):
    reasons = [" ".join(f.explanation.quality.reasons) for f in said["wrong"]]
    named = ["outlined" in text or "outside of the patient" in text for text in reasons]
    assert np.mean(named) >= 0.95


def test_the_counterfactual_tells_what_the_finding_hangs_on(said):
    right = [f.explanation.counterfactual for f in said["right"]]
    wrong = [f.explanation.counterfactual for f in said["wrong"]]
    assert np.mean(["would not be reported" in text for text in right]) >= 0.95
    hangs_on_outline = ["what the model outlined" in t and "not be reported" in t for t in wrong]
    assert np.mean(hangs_on_outline) <= 0.05
