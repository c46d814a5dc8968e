"""What the recipe of brain-mr-tumour measures beside what every evaluation does."""

import numpy as np
import pytest
from scipy.special import softmax

from dicom_node.domain.manifest import ModelManifest
from workers.training.evaluation.figures import Cases, calibration_gap
from workers.training.evaluation.scope import Foreign, by_kind
from workers.training.evaluation.seen import Seen

pytest.importorskip("keras")
pytestmark = pytest.mark.tensorflow
TYPES = 3
TOO_SURE = 3.0


@pytest.fixture(scope="module")
def manifest() -> ModelManifest:
    from workers.training.brain.text import manifest_text
    from workers.training.text import parse

    return parse(manifest_text())


def case(patient: str, truth: int, said: list[float]) -> Seen:
    """The likeliest type is called, unless none is likelier; -1 is none."""
    rest = 1 - sum(said)
    return Seen(
        name="",
        patient=patient,
        truth=np.arange(TYPES) == truth,
        called=np.arange(TYPES) == np.argmax([*said, rest]),
        probabilities=np.array(said, np.float32),
        seconds=0.0,
        frames=1,
        facts={},
    )


def too_sure(count: int) -> list[Seen]:
    """Cases of patients of one label, whose logits are three times what they should be."""
    rng, made = np.random.default_rng(0), []
    for number in range(count):
        logits = np.append(rng.normal(0, 1.5, TYPES), -1.0)
        truth = int(rng.choice(TYPES + 1, p=softmax(logits)))
        made.append(case(f"p{number}", truth, softmax(TOO_SURE * logits)[:TYPES].tolist()))
    return made


def gap(seen: list[Seen], manifest: ModelManifest) -> float:
    return calibration_gap(Cases(seen, manifest), np.arange(len(seen)))


def test_each_half_is_calibrated_by_the_other(manifest):
    from workers.training.brain.cross_fit import cross_fitted

    seen = too_sure(600)
    done = cross_fitted(seen)
    assert gap(done, manifest) < 0.06 < 0.15 < gap(seen, manifest)
    assert [each.truth.tolist() for each in done] == [each.truth.tolist() for each in seen]


def test_no_case_has_a_part_in_its_own_temperature():
    from workers.training.brain.cross_fit import cross_fitted

    right, wrong = [0.6, 0.2, 0.1], [0.2, 0.6, 0.1]
    seen = [case("a", 0, right) for _ in range(5)] + [case("b", 0, wrong) for _ in range(5)]
    done = np.array([each.probabilities.max() for each in cross_fitted(seen)])
    assert (done[:5] < 0.6).all()  # as b, which is always wrong, would have it
    assert (done[5:] > 0.6).all()
    alone = cross_fitted(seen[:5])
    assert alone[0].probabilities.tolist() == seen[0].probabilities.tolist()


def test_the_likeliest_type_counts_whether_or_not_a_tumour_is_called(manifest):
    from workers.training.brain.measuring import likeliest_type

    seen = [
        case("a", 0, [0.2, 0.1, 0.1]),  # none is likelier
        case("b", 2, [0.1, 0.1, 0.6]),
        case("c", 1, [0.6, 0.3, 0.0]),
    ]
    (figure,) = likeliest_type(seen, manifest).values()
    assert (figure.value, figure.cases) == (pytest.approx(2 / 3), 3)


def test_any_tumour_is_one_answer_of_all_types(manifest):
    from workers.training.brain.any_tumour import any_tumour

    seen = [
        case("a", 0, [0.1, 0.7, 0.1]),  # another type is called, and a tumour is there
        case("b", 2, [0.1, 0.1, 0.1]),
        case("c", -1, [0.0, 0.1, 0.0]),
        case("d", -1, [0.0, 0.6, 0.0]),
    ]
    found = any_tumour(seen, manifest)
    assert {name: (each.value, each.cases) for name, each in found.items()} == {
        "Sensitivity": (0.5, 2),
        "Specificity": (0.5, 2),
        "Area under ROC": (0.75, 4),
    }
    assert {*any_tumour(seen[:2], manifest)} == {"Sensitivity"}
    assert not any_tumour([], manifest)


def test_images_are_made_with_their_tumour_and_without():
    from workers.training.brain.any_tumour import KINDS
    from workers.training.brain.augment import Slice

    rows, columns = (axis - 127.5 for axis in np.ogrid[:256, :256])
    spot = np.hypot(rows + 20, columns - 40) < 14
    image = 0.3 * (np.hypot(rows / 100, columns / 90) < 1) + 0.5 * spot
    healthy = Slice(0.6 * image.astype(np.float32) * ~spot, np.zeros_like(image))
    given = Slice(image.astype(np.float32), spot.astype(np.float32), healthy)
    for name, change in KINDS.items():
        for seed in range(4):
            having, without = (change(given, np.random.default_rng(seed), w) for w in (0, 1))
            assert having is None or having.mask.any(), name
            assert without is None or not without.mask.any(), name
            assert without is None or without.image.max() < 0.5, name
        assert having is not None or name == "filled places"
        assert without is not None
        assert name == "enlarged parts" or (without.image[spot] > 0.1).mean() > 0.8, name


def test_a_slice_borrows_from_one_that_is_alike_and_healthy_there():
    from workers.training.brain.slices import Slices

    rows, columns = (axis - 127.5 for axis in np.ogrid[:256, :256])
    rng = np.random.default_rng(0)

    def head(width, spot):
        mask = np.hypot(rows + 20, columns - spot) < 14
        folds = 20 * np.cos(rows / 9) * np.cos(columns / 9)
        image = (90 + folds) * (np.hypot(rows / 100, columns / width) < 1) + 60 * mask
        return np.clip(image + rng.normal(0, 3, mask.shape), 0, 255).astype(np.uint8), 255 * mask

    heads = [head(90, 40), head(91, 40), head(90, -30), head(40, 0)]
    slices = Slices(
        np.stack([image for image, _ in heads]),
        np.stack([mask for _, mask in heads]).astype(np.uint8),
        np.zeros(4, np.int64),
    )
    lend = {*slices.lenders[0].tolist()}
    assert {2, 5} < lend  # as it is, and mirrored
    assert not {0, 1, 6} & lend  # which are ill in the same place
    given = slices.with_lender(0, rng)
    assert given.lender is not None
    assert not (given.lender.mask * given.mask).any()


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({"Modality": "CT", "BodyPartExamined": "HEAD"}, "another modality"),
        ({"BodyPartExamined": "HEAD", "Orientation": "MIXED"}, "MR in several planes, or in none"),
        ({"BodyPartExamined": "HEAD", "Orientation": None}, "MR in several planes, or in none"),
        ({"StudyDescription": "Brain-MRA"}, "MR of a head, other sequence"),
        ({"BodyPartExamined": "PROSTATE", "StudyDescription": "Pelvis"}, "MR of another body part"),
        ({}, "MR of an unnamed body part"),
    ],
)
def test_series_out_of_scope_are_told_apart_by_what_they_differ_in(manifest, headers, wanted):
    from workers.training.brain.measuring import kind

    series = Foreign(True, np.zeros(0), {"Modality": "MR", "Orientation": "AXIAL"} | headers)
    assert kind(manifest.selection, series) == wanted


def test_each_kind_has_figures_of_its_own():
    ct, us = {"Modality": "CT"}, {"Modality": "US"}
    series = [
        Foreign(True, np.zeros(0), us),
        Foreign(False, np.array([0.5]), ct),
        Foreign(False, np.array([2.0]), ct),
    ]
    found = by_kind(series, lambda each: each.modality)
    assert [*found] == ["CT", "US"]
    assert [(each.value, each.cases) for each in found["CT"].values()] == [(0.5, 2), (0.5, 2)]
    assert [(each.value, each.cases) for each in found["US"].values()] == [(1, 1)]
