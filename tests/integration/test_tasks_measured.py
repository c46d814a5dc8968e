"""Numbers about a map, and what its finding hangs on, stand in SR and page whatever the task."""

from collections.abc import Sequence

import pytest
from pydicom.dataset import Dataset
from task_results import BUNDLES, study

from dicom_node.catalog import open_bundle
from dicom_node.domain import concepts
from dicom_node.testing.inserts import cylinder
from dicom_node.testing.mammogram import VIEWS, breast, make_mammograms

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(600)]

SEED = 70_000
"""Beyond those of all recipes."""


def breasts() -> list[Dataset]:
    return make_mammograms([("L", view, breast(SEED + 20, view, mass=True)) for view in VIEWS])


GIVEN = {
    "qa-sequence": (
        lambda: study(cylinder(SEED + 9, ("sphere",), slices=20, size=64)),
        "on this image alone, the probability",
    ),
    "qa-spheres": (
        lambda: study(cylinder(SEED + 11, ("sphere",), slices=18, size=64)),
        "on this image alone, the certainty of the outline",
    ),
    "qa-views": (breasts, "on this image alone, the probability"),
    "qa-boxes": (
        lambda: study(cylinder(SEED + 5, ("disc",), size=128)),
        "Without what the model outlined, the probability on this slice",
    ),
    "qa-diameter": (
        lambda: study(cylinder(SEED, ("disc",), slices=3, roaming=True)),
        "Without the place that the map names, the number on this slice is",
    ),
}
JUDGED = [concepts.RELIABLE, concepts.CAUTION]
NUMBERS = [
    concepts.MAP_HITS,
    concepts.REGION_DROP,
    concepts.BEYOND_BODY,
    concepts.NOISE_SSIM,
    concepts.DELETION,
]


def inside(items: Sequence[Dataset]) -> list[Dataset]:
    """All content items, and those in them."""
    return [each for i in items for each in (i, *inside(i.get("ContentSequence", [])))]


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_the_numbers_of_a_map_stand_in_the_sr_and_on_the_page(analysed, name):
    given, sentence = GIVEN[name]
    results = analysed(name, given())
    content = inside(results.report.ContentSequence)
    (verdict,) = [
        i for i in content
        if i.ValueType == "CODE" and i.ConceptNameCodeSequence[0].CodeValue == "TRUST"
    ]  # fmt: skip
    fitted = open_bundle(BUNDLES / name).manifest.explanation.verdict is not None
    judged = {code.value for code in (JUDGED if fitted else [concepts.NOT_MEASURED])}
    assert verdict.ConceptCodeSequence[0].CodeValue in judged
    numbers = [i for i in verdict.ContentSequence if i.ValueType == "NUM"]
    named = {i.ConceptNameCodeSequence[0].CodeValue for i in numbers}
    assert {code.value for code in NUMBERS} <= named
    assert [
        code.meaning for code in NUMBERS if code.meaning not in results.page.replace("&#39;", "'")
    ] == []
    assert any(sentence in i.TextValue for i in content if i.ValueType == "TEXT")
    assert sentence in results.page
