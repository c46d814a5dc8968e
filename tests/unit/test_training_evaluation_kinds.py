"""Numbers, outlines, boxes and pictures are measured as the libraries measure them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from skimage.metrics import hausdorff_distance, peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import mean_absolute_error

from dicom_node.catalog import open_bundle, shipped_bundles
from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.explanation import SaliencyMap
from dicom_node.domain.findings import Finding, Presence
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.prediction import Box, Boxes, DerivedImages, Prediction
from workers.findings import Answers, Case
from workers.training.dataset import Example
from workers.training.evaluate import PROVENANCE
from workers.training.evaluation import (
    boxes,
    cases,
    drawing,
    outlines,
    pictures,
    places,
    quantities,
)
from workers.training.evaluation import figures as figures_module
from workers.training.evaluation.figures import Cases
from workers.training.evaluation.sections import overall, scores, sections
from workers.training.evaluation.seen import Outline, Picture, Seen
from workers.training.evaluation.truth import refuse_without
from workers.training.reading import read_parts

TASKS = next(p for p in shipped_bundles() if p.name == "phantom-lesion").parent / "tasks"
SPACING_MM = (5.0, 1.0, 1.0)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(figures_module, "SAMPLES", 100)
    monkeypatch.setattr(boxes, "CURVES", 20)


def manifest(name):
    return open_bundle(TASKS / name).manifest


def images(pixels):
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *SPACING_MM, 1
    frames = tuple(FrameReference("1.2", f"2.25.{n + 1}") for n in range(len(pixels)))
    return SourceImages((), frames, np.asarray(pixels, np.float32), affine)


def seen(number, targets=0, **more):
    nothing = np.zeros(targets, bool)
    said = np.zeros(targets, np.float32)
    rest = {"truth": nothing, "called": nothing, "probabilities": said, "facts": {}, **more}
    return Seen(name=f"{number}", patient=f"p{number}", seconds=0.1, frames=1, **rest)


def example(**more):
    return Example("one", TASKS / "none.png", frozenset(), "1", **more)


TRUE = np.linspace(160, 260, 30)
SAID = TRUE + np.random.default_rng(0).normal(1, 2, 30)


def diameters():
    pairs = enumerate(zip(TRUE.tolist(), SAID.tolist(), strict=True))
    return Cases(
        [seen(n, numbers={"Diameter": pair}) for n, pair in pairs], manifest("qa-diameter")
    )


def test_a_number_is_off_by_so_much_and_agrees_within_limits():
    found = overall(diameters())
    error = found["Diameter: mean absolute error (mm)"]
    assert error.value == pytest.approx(mean_absolute_error(TRUE, SAID))
    assert error.low < error.value < error.high
    off = SAID - TRUE
    assert found["Diameter: bias (mm)"].value == pytest.approx(off.mean())
    low, high = (found[f"Diameter: {each} limit of agreement (mm)"] for each in ("lower", "upper"))
    assert high.value == pytest.approx(off.mean() + 1.96 * off.std(ddof=1), abs=1e-3)
    assert high.value + low.value == pytest.approx(2 * off.mean())


def test_numbers_are_shown_beside_the_true_ones_and_as_bland_and_altman_do():
    (section,) = sections(diameters())
    scatter, bland_altman = section.charts
    assert scatter.count("<circle") == bland_altman.count("<circle") == len(TRUE)
    assert bland_altman.count('class="limit"') == 2
    assert "said less true (mm)" in bland_altman


def test_a_true_number_is_read_from_the_column_of_its_quantity():
    (diameter,) = manifest("qa-diameter").regression.quantities
    assert quantities.truth(diameter, example(columns={"diameter": "201.5"})) == 201.5
    assert quantities.truth(diameter, example(columns={"diameter": ""})) is None
    for written in ("wide", "nan", "inf"):
        with pytest.raises(ConfigurationError, match=f"says '{written}', which is no number in mm"):
            quantities.truth(diameter, example(columns={"diameter": written}))


def two_squares():
    one, other = np.zeros((2, 8, 40, 40), bool)
    one[2:5, 5:12, 5:12] = True
    other[3:6, 20:30, 22:29] = True
    return one, other


def test_the_hausdorff_distance_is_that_of_scikit_image(monkeypatch):
    one, other = two_squares()
    monkeypatch.setattr(outlines, "HAUSDORFF", 100)
    assert outlines.hausdorff(one, other, (1, 1, 1)) == pytest.approx(
        hausdorff_distance(one, other)
    )
    assert outlines.hausdorff(one, other, SPACING_MM) > outlines.hausdorff(one, other, (1, 1, 1))


def test_one_stray_pixel_in_a_hundred_moves_the_hausdorff_distance_little():
    one, _ = two_squares()
    stray = one.copy()
    stray[7, 39, 39] = True
    assert outlines.outline(stray, one, SPACING_MM).hausdorff_mm == 0
    assert outlines.outline(one, ~one & False, SPACING_MM) == Outline(0.0, None)


def test_what_the_report_outlines_is_measured_against_the_mask():
    plan = manifest("qa-spheres")
    one, _ = two_squares()
    masks = one.astype(np.float32)[..., None]
    nothing = np.zeros((8, 0), np.float32)
    case = Case(plan, PROVENANCE, images(one), Prediction(nothing, nothing, masks))
    said = cases.answer(case)
    found = outlines.outlines(plan, said, one[None], case.images)
    assert found == {"Sphere": Outline(1.0, 0.0)}
    made = [seen(n, outlines={"Sphere": Outline((n + 0.5) / 20, float(n))}) for n in range(20)]
    (section,) = sections(Cases(made, plan))
    dice, distance = section.charts
    assert dice.count('class="count"') == 20
    assert "distance (mm)" in distance
    assert overall(Cases(made, plan))["Dice of the outlines"].value == pytest.approx(0.5)


def detected(*found, there=()):
    """Boxes as (probability, row, column) of 10 × 10 pixels; ``there`` are corners of squares."""
    plan = manifest("qa-boxes")
    truth = np.zeros((1, 1, 96, 96), bool)
    for row, column in there:
        truth[..., row : row + 10, column : column + 10] = True
    places = tuple(Box(0, (r - 0.5, c - 0.5), (r + 9.5, c + 9.5)) for _, r, c in found)
    said = np.array([[p] for p, _, _ in found], np.float32)
    every = Boxes(places, said, said)
    prediction = Prediction(said[:1], said.max(axis=0)[None], np.zeros((1, 96, 96, 0)), boxes=every)
    case = Case(plan, PROVENANCE, images(np.zeros((1, 96, 96))), prediction)
    return boxes.boxes(case, plan.detection, truth)["Insert"]


def test_a_box_finds_one_thing_and_the_others_are_false():
    found = detected((0.9, 10, 10), (0.7, 40, 42), (0.6, 70, 10), there=[(11, 11), (40, 40)])
    assert found.there == 2
    assert (found.hits[-1], found.false[-1]) == (2, 1)  # at the operating point, 0.5
    at = boxes.THRESHOLDS.index(0.65)
    assert (found.hits[at], found.false[at]) == (2, 0)
    assert (found.hits[0], found.false[0]) == (0, 0)  # at 0.95


def test_two_boxes_on_one_thing_are_one_hit():
    found = detected((0.9, 10, 10), (0.8, 10, 17), there=[(8, 12)])
    assert (found.hits[-1], found.false[-1]) == (1, 1)


def test_average_precision_and_sensitivity_are_of_all_things_of_all_cases():
    plan = manifest("qa-boxes")
    each = [
        detected((0.92, 10, 10), there=[(10, 10)]),
        detected((0.82, 10, 10), there=[(50, 50)]),
        detected((0.72, 10, 10), there=[(10, 10), (60, 60)]),
    ]
    made = [seen(n, 1, boxes={"Insert": b}, truth=np.ones(1, bool)) for n, b in enumerate(each)]
    found = overall(Cases(made, plan))
    # scikit-learn says 0.8333 of scores (0.92, 0.82, 0.72) and hits (1, 0, 1); 2 of 4 are found
    assert found["Insert: average precision of boxes"].value == pytest.approx(0.8333 / 2, abs=1e-4)
    assert found["Insert: sensitivity of boxes"].value == 0.5
    assert found["Insert: false boxes a case"].value == pytest.approx(1 / 3)
    titles = [chart for s in sections(Cases(made, plan)) for chart in s.charts if "FROC" in chart]
    assert len(titles) == 1


def test_nothing_is_found_at_fewer_false_boxes_than_any_threshold_reaches(monkeypatch):
    drawn = []
    monkeypatch.setattr(boxes.drawing, "line", lambda points, _: drawn.append(points) or "")
    plan = manifest("qa-boxes")
    at_once = detected((0.97, 10, 10), (0.96, 50, 50), there=[(10, 10)])
    made = [seen(n, 1, boxes={"Insert": at_once}, truth=np.ones(1, bool)) for n in range(3)]
    boxes.froc(Cases(made, plan), plan.detection.targets[0])
    found = dict(drawn[-1])
    assert (found[0.0], found[0.5], found[1.0]) == (0, 0, 1)


def test_pictures_are_compared_as_scikit_image_does_with_and_without_the_model():
    rng = np.random.default_rng(0)
    wanted = rng.normal(0, 100, (1, 32, 32)).astype(np.float32)
    given, made = (wanted + rng.normal(0, s, wanted.shape).astype("f4") for s in (40, 20))
    derived = DerivedImages(made, (1.0, 1.0), (0.0, 0.0))
    found = pictures.picture(example(), given, derived, images(wanted))
    span = float(np.ptp(wanted))
    assert found.psnr_after == peak_signal_noise_ratio(wanted, made, data_range=span)
    assert found.ssim_before == structural_similarity(wanted[0], given[0], data_range=span)
    assert found.ssim_after > found.ssim_before
    section = next(iter(sections(Cases([seen(0, picture=found)], manifest("qa-denoise")))))
    assert len(section.charts) == 2
    with pytest.raises(ConfigurationError, match="give one of those two"):
        pictures.picture(example(), given, derived, images(wanted[:, :20]))


def test_a_finer_image_is_compared_on_its_own_pixels_or_on_those_of_the_source():
    fine = np.kron(np.arange(16.0).reshape(1, 4, 4), np.ones((1, 8, 8))).astype(np.float32)
    coarse = fine[:, ::2, ::2]
    derived = DerivedImages(fine, (0.5, 0.5), (-0.25, -0.25))
    assert pictures.picture(example(), coarse, derived, images(fine)).psnr_after == np.inf
    assert pictures.picture(example(), coarse, derived, images(coarse)).psnr_before == np.inf


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("qa-diameter", "a column Diameter with the true number in mm"),
        ("qa-spheres", "a column mask with where the segments are: Sphere"),
        ("qa-denoise", "a column reference with what should be made of each image"),
    ],
)
def test_data_that_says_nothing_of_what_a_model_gives_is_refused(name, words):
    with pytest.raises(ConfigurationError, match=words):
        refuse_without(manifest(name), [example()])


def test_subgroups_are_compared_by_what_a_model_gives():
    pairs = [(seen(n, picture=Picture(20, 25, 0.5, 0.7)), "qa-denoise") for n in range(2)]
    assert list(scores(Cases([s for s, _ in pairs], manifest("qa-denoise")))) == [
        "SSIM of the images it makes"
    ]
    assert list(scores(diameters())) == ["Diameter: absolute error (mm)"]


def test_of_several_things_a_mask_says_by_its_values_which_is_where(tmp_path):
    import SimpleITK

    values = np.zeros((2, 4, 4), np.uint8)
    values[0, 0], values[1, 1] = 1, 2
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(tmp_path / "mask.nii.gz"))
    given = example(mask=tmp_path / "mask.nii.gz")
    parts = read_parts(given, images(values), 2)
    assert (parts[0] == (values == 1)).all()
    assert (parts[1] == (values == 2)).all()
    assert (read_parts(given, images(values), 1)[0] == (values > 0)).all()
    values[0, 2] = 7
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(tmp_path / "mask.nii.gz"))
    with pytest.raises(ConfigurationError, match="has the value 7: write 1 to 2"):
        read_parts(given, images(values), 2)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0, 1], (0, 0.2, 0.4, 0.6, 0.8, 1)),
        ([151, 262], (150, 175, 200, 225, 250, 275)),
        ([-1.2, 0.7], (-1.5, -1, -0.5, 0, 0.5, 1)),
        ([3, 3], None),
        ([np.nan, np.inf], None),
    ],
)
def test_axes_go_from_one_round_number_to_another(values, ticks):
    scale = drawing.Scale.holding(values)
    assert ticks is None or scale.ticks == pytest.approx(ticks)
    assert all(0 <= scale(value) <= 1 for value in values if np.isfinite(value))


def test_slices_beside_noise_have_no_say_in_what_is_measured(monkeypatch):
    """The likeliest frame shows a place too small to be one: the report calls the target absent."""
    plan = open_bundle(TASKS.parent / "phantom-lesion").manifest
    pixels = np.zeros((8, 30, 30), np.float32)
    said = np.full((8, 1), 0.1, np.float32)
    said[5] = 0.95
    masks = np.zeros((*pixels.shape, len(plan.segmentation.segments)), np.float32)
    masks[5, 3, 3] = 1
    prediction = Prediction(said, said, masks)
    monkeypatch.setattr(cases, "read_case", lambda *_: images(pixels))
    monkeypatch.setattr(cases, "prepare", lambda *_: None)
    monkeypatch.setattr(cases, "predict", lambda *_: (prediction, {}))
    model = SimpleNamespace(manifest=plan, reference={})
    (found,) = cases.look(model, [example()])
    assert not found.called[0]
    assert found.probabilities[0] == pytest.approx(0.1)


def test_the_place_that_a_map_names_is_the_middle_of_its_region_not_its_hottest_pixel(monkeypatch):
    """The hottest pixel of a coarse map lies on the rim of a plateau, beside what it means."""
    plan = open_bundle(TASKS.parent / "phantom-lesion").manifest
    target, source = plan.targets[0], images(np.zeros((1, 40, 40)))
    rows, columns = np.ogrid[:40, :40]
    values = (np.hypot(rows - 20, columns - 12) <= 8).astype(np.float32)[None]
    values[0, 20, 19] = 1.2
    mask = (np.hypot(rows - 20, columns - 12) <= 5)[None]
    finding = Finding(target, Presence.PRESENT, 0.9, 0, "Lesion 1", "2.25.1")
    maps = {target.label: SaliencyMap(target.label, "gradcam", "x", values, 1.0)}

    class Asked:
        model = SimpleNamespace(manifest=plan)
        prepared = SimpleNamespace(source=source)

        def explains(self, _):
            return True

        def seen(self, *_):
            return SimpleNamespace(expected=None)

    def found(*findings):
        return places.place(Asked(), Answers(findings=findings), maps, mask, [target.label])

    place = found(finding)
    assert not mask.flat[values.argmax()]
    assert place.hit
    assert not place.centre
    assert place.inside == pytest.approx(mask.sum() / values.sum(), rel=1e-5)
    assert 0 < place.overlap < 1
    absent = found(replace(finding, presence=Presence.ABSENT))
    assert (absent.hit, absent.inside, absent.overlap) == (False, None, None)
    assert found() is None
    monkeypatch.setattr(places, "saliency_of", lambda *_: maps[target.label])
    of_many_passes = places.place(Asked(), Answers(findings=(finding,)), {}, mask, [target.label])
    assert of_many_passes == place
