"""From masks and probabilities to segments and findings, also where the two heads disagree."""

from datetime import datetime

import numpy as np
import pytest

from dicom_node.domain.findings import Presence
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.prediction import Prediction
from dicom_node.domain.provenance import Provenance
from workers.findings import Answers, Case, answer
from workers.tracking import remembered, tracked
from workers.training.phantom_text import manifest_text
from workers.training.text import parse

SHAPE = (20, 60, 60)
SPACING = (3.0, 1.0, 1.0)
MANIFEST = parse(manifest_text())
PROVENANCE = Provenance("2.25.9", 1, "input", "bundle", "config", datetime(2026, 1, 2))


def sphere(center: tuple[int, int, int], radius_mm: float) -> np.ndarray:
    z, y, x = (
        (axis - c) * s for axis, c, s in zip(np.indices(SHAPE), center, SPACING, strict=True)
    )
    return z**2 + y**2 + x**2 <= radius_mm**2


BIG, SMALL = sphere((6, 20, 20), 9), sphere((14, 40, 40), 7)
BODY = np.zeros(SHAPE, bool)
BODY[:, 5:55, 5:55] = True
NOTHING = np.zeros(SHAPE, bool)


def answers(
    *lesions: np.ndarray,
    positive: slice | None = slice(0, 20),
    body: np.ndarray = BODY,
    manifest: ModelManifest = MANIFEST,
    earlier: Answers | None = None,
) -> Answers:
    assert manifest.classification is not None
    shape = SHAPE[0], len(manifest.classification.targets)
    probabilities = np.full(shape, 0.1, np.float32)
    if positive is not None:
        probabilities[positive] = 0.9
    probabilities[3] += 0.01
    masks = np.stack([body, np.any([NOTHING, *lesions], axis=0)], axis=-1).astype(np.float32)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *SPACING, 1
    frames = tuple(FrameReference("1.2", f"2.25.{n + 1}") for n in range(SHAPE[0]))
    images = SourceImages((), frames, np.zeros(SHAPE, np.float32), affine)
    prediction = Prediction(np.zeros_like(probabilities), probabilities, masks)
    known = remembered([tracked(earlier.findings)]) if earlier else ()
    return answer(Case(manifest, PROVENANCE, images, prediction, known))


def test_each_connected_region_is_a_segment_and_a_finding_largest_first():
    found = answers(SMALL, BIG)
    assert [s.label for s in found.segments] == ["Lesion 1", "Lesion 2", "Body"]
    assert [s.number for s in found.segments] == [1, 2, 3]
    assert [f.segment for f in found.findings] == list(found.segments[:2])
    np.testing.assert_array_equal(found.segments[0].mask, BIG)
    np.testing.assert_array_equal(found.segments[1].mask, SMALL)
    assert {f.presence for f in found.findings} == {Presence.PRESENT}
    assert [f.frame for f in found.findings] == [6, 14]


def test_the_context_is_one_segment_however_many_parts_it_has():
    body = BODY.copy()
    body[:, 28:32] = False
    found = answers(body=body, positive=None)
    assert [s.label for s in found.segments] == ["Body"]
    np.testing.assert_array_equal(found.segments[0].mask, body)


def test_a_region_that_touches_by_a_corner_is_one():
    one, other = NOTHING.copy(), NOTHING.copy()
    one[4:8, 10:20, 10:20] = True
    other[8:12, 20:30, 20:30] = True
    assert len(answers(one, other).findings) == 1


SPECK = NOTHING.copy()
SPECK[12, 10:14, 10:14] = True


def test_noise_below_the_smallest_volume_is_no_segment():
    assert [s.label for s in answers(SPECK, BIG).segments] == ["Lesion 1", "Body"]


def test_slices_that_show_only_noise_have_no_say():
    found = answers(SPECK, positive=slice(11, 14))
    (finding,) = found.findings
    assert finding.presence is Presence.ABSENT
    assert finding.probability == pytest.approx(0.11)
    assert found.notes == ("1 place was outlined as Lesion, too small to be one; not reported.",)


def test_noise_does_not_silence_a_region_in_the_same_slice():
    found = answers(SPECK, SMALL, positive=slice(12, 13))
    assert [f.presence for f in found.findings] == [Presence.PRESENT]


def test_a_positive_slice_beside_a_region_that_is_left_out_is_heard():
    found = answers(BIG, positive=slice(10, 11))
    assert [(f.presence, f.segment) for f in found.findings] == [(Presence.PRESENT, None)]


def test_nothing_outlined_and_no_positive_slice_is_absent_with_the_highest_probability():
    (finding,) = answers(positive=None).findings
    assert finding.presence is Presence.ABSENT
    assert finding.frame == 3
    assert finding.probability == pytest.approx(0.11)
    assert finding.segment is None
    assert finding.measurements == ()


def test_a_region_in_negative_slices_is_left_out_with_a_note():
    found = answers(BIG, SMALL, positive=slice(12, 17))
    assert [s.label for s in found.segments] == ["Lesion 1", "Body"]
    np.testing.assert_array_equal(found.segments[0].mask, SMALL)
    (note,) = found.notes
    assert note.startswith("1 place was outlined as Lesion")


def test_a_region_that_one_of_two_targets_took_is_not_left_out_by_the_other():
    (plan,) = [o for o in MANIFEST.outputs if o.kind == "classification"]
    (one,) = plan.targets
    other = one.model_copy(update={"label": "Cyst", "threshold": 0.95})
    both = plan.model_copy(update={"targets": (one, other)})
    outputs = tuple(both if output is plan else output for output in MANIFEST.outputs)
    found = answers(BIG, SMALL, manifest=MANIFEST.model_copy(update={"outputs": outputs}))
    assert [f.presence for f in found.findings] == [Presence.PRESENT] * 2 + [Presence.ABSENT]
    assert found.notes == ()


def test_regions_in_negative_slices_alone_leave_the_target_absent():
    found = answers(BIG, positive=None)
    assert [f.presence for f in found.findings] == [Presence.ABSENT]
    assert len(found.notes) == 1


def test_positive_slices_without_a_region_are_a_finding_of_the_whole_image():
    found = answers(positive=slice(9, 12))
    (finding,) = found.findings
    assert finding.presence is Presence.PRESENT
    assert finding.frame in range(9, 12)
    assert finding.segment is None
    assert finding.probability == pytest.approx(0.9)


def test_positive_slices_beside_a_region_belong_to_it():
    """BIG fills slices 3 to 9; the blurred end of a lesion may still be seen in the next one."""
    found = answers(BIG, positive=slice(2, 11))
    assert [f.segment and f.segment.label for f in found.findings] == ["Lesion 1"]


def test_another_run_of_positive_slices_is_another_finding():
    found = answers(BIG, positive=[*range(4, 8), *range(15, 18)])
    assert [f.segment is None for f in found.findings] == [False, True]
    assert [f.tracking_id for f in found.findings] == [
        "Lesion at L20 P20 H18 mm",
        "Lesion at L30 P30 H48 mm",
    ]


def test_tracking_is_the_same_in_every_run_and_differs_between_findings():
    once, again = answers(BIG, SMALL), answers(BIG, SMALL)
    uids = [f.tracking_uid for f in once.findings]
    assert uids == [f.tracking_uid for f in again.findings]
    assert len({s.tracking_uid for s in once.segments}) == 3
    assert [s.tracking_uid for s in once.segments[:2]] == uids


def uids(found: Answers) -> list[str]:
    return [finding.tracking_uid for finding in found.findings]


def test_a_new_and_larger_lesion_takes_neither_name_nor_number_from_an_old_one():
    first = answers(SMALL)
    second = answers(SMALL, BIG, earlier=first)
    assert uids(second)[0] == uids(first)[0]
    assert uids(second)[1] not in uids(first)
    assert [s.label for s in second.segments] == ["Lesion 1", "Lesion 2", "Body"]
    np.testing.assert_array_equal(second.segments[0].mask, SMALL)
    assert [s.tracking_uid for s in second.segments[:2]] == uids(second)


def test_a_lesion_whose_outline_moves_by_millimetres_is_the_same():
    first = answers(BIG, SMALL)
    moved = answers(np.roll(BIG, (1, 2, 3), (0, 1, 2)), sphere((14, 41, 42), 10), earlier=first)
    assert uids(moved) == uids(first)
    assert [f.tracking_id for f in moved.findings] == [f.tracking_id for f in first.findings]


def test_a_lesion_of_which_late_slices_show_the_rest_is_the_same():
    cut = BIG.copy()
    cut[6:] = False
    first = answers(cut, positive=slice(3, 6))
    assert first.segments[0].label == "Lesion 1"
    assert uids(answers(BIG, positive=slice(3, 10), earlier=first)) == uids(first)


def test_a_lesion_elsewhere_is_another_even_if_the_old_one_is_gone():
    first = answers(BIG)
    assert not set(uids(answers(SMALL, earlier=first))) & set(uids(first))


def test_the_names_are_of_the_place_where_no_earlier_run_is_at_hand():
    assert uids(answers(SMALL)) == uids(answers(BIG, SMALL))[1:]


def test_codes_come_from_the_manifest():
    lesion, body = answers(BIG).segments
    assert (body.category.value, body.type.value) == ("91723000", "38266002")
    assert (lesion.category.value, lesion.type.value) == ("49755003", "52988006")
