"""The shipped weights of brain-mr-tumour still give the figures of its card."""

import pytest

from dicom_node.catalog import open_bundle, shipped_bundles

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(1200)]
EVERY = 12
"""One slice in so many of the choosing fold: a third of a minute."""
MEASURED = (
    "Cases called right",
    "Brier score",
    "Dice of the outlines",
    "95 % Hausdorff distance of the outlines (mm)",
    "Heat map's place in the mask",
    "Heat map's evidence inside the mask",
    "Image centre in the mask",
    "Average mask's peak in the mask",
)
ECE = "Calibration error (ECE)"


@pytest.mark.shared
def test_slices_of_the_choosing_fold_give_the_figures_of_the_card(shared_data):
    from workers.loading import load_model
    from workers.training.brain.any_tumour import SUBGROUP, any_tumour
    from workers.training.brain.data import CHENG_MM, read_folds
    from workers.training.evaluation.cases import look
    from workers.training.evaluation.figures import Cases
    from workers.training.evaluation.sections import overall

    bundle = open_bundle(next(p for p in shipped_bundles() if p.name == "brain-mr-tumour"))
    _, choosing = read_folds(shared_data / "brain-tumour-cheng")
    seen = list(look(load_model(bundle), choosing[::EVERY], spacing_mm=CHENG_MM))
    assert len(seen) >= 50
    found = overall(Cases(seen, bundle.manifest))
    rows = {row.title: row for row in bundle.manifest.card.performance}
    for name in MEASURED:
        assert found[name].low <= rows[name].value <= found[name].high, name
    assert found[ECE].low <= rows[ECE].high  # that of few cases is higher
    sensitivity = any_tumour(seen, bundle.manifest)["Sensitivity"]
    stated = rows[f"Sensitivity ({SUBGROUP})"]
    assert sensitivity.low <= stated.value <= sensitivity.high
    assert stated.cases == rows["Cases called right"].cases == len(choosing)
