"""Each step that a manifest may name does what it says, and what it moves returns to its place."""

import re

import numpy as np
import pytest
from pydantic import TypeAdapter
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from scipy import ndimage

from dicom_node.domain import steps
from dicom_node.domain.errors import UnsupportedGeometry
from dicom_node.domain.images import FrameReference, SourceImages
from workers.steps import STEPS, apply
from workers.steps.prepared import Prepared
from workers.training.phantom_text import manifest_text
from workers.training.text import parse

SPACING = (3.0, 0.8, 1.2)
AXIAL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float)
"""Columns: where frames, rows and columns run to, in x, y, z of the patient."""
CORONAL = np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], float)
STEP = TypeAdapter(steps.Step)


def images(pixels, axes=AXIAL, **attributes) -> SourceImages:
    affine = np.eye(4)
    affine[:3, :3] = axes * SPACING
    affine[:3, 3] = (-40, 25, 10)
    headers = []
    for number in range(len(pixels)):
        header = Dataset()
        header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, f"2.25.{number + 1}"
        header.PhotometricInterpretation = "MONOCHROME2"
        for keyword, value in attributes.items():
            setattr(header, keyword, value)
        headers.append(header)
    frames = tuple(FrameReference(h.SOPClassUID, h.SOPInstanceUID) for h in headers)
    return SourceImages(tuple(headers), frames, np.asarray(pixels, np.float32), affine)


def run(source: SourceImages, *tables: dict) -> Prepared:
    return apply(Prepared.start(source), [STEP.validate_python(table) for table in tables])


def blob(shape, at, width=2.5) -> np.ndarray:
    distance = sum((i - a) ** 2 for i, a in zip(np.indices(shape), at, strict=True))
    return 100 * np.exp(-distance / (2 * width**2))


def plane(*values) -> np.ndarray:
    return np.array([[values]], float)


def textured(frames=2, side=64, seed=0) -> np.ndarray:
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.random((frames, side, side)), (0, 3, 3))
    return 1000 * (smooth - smooth.min()) / np.ptp(smooth)


MINIMAL = {
    "window": {"center": 50, "width": 100},
    "standardize": {"mean": 10, "deviation": 5},
    "gamma": {"gamma": 0.5},
    "fit": {"rows": 40, "columns": 48, "spacing_mm": 1.5},
    "resample": {"spacing_mm": (1.0, 1.0), "slice_mm": 2.0},
    "orient": {"rows": "P", "columns": "L"},
    "crop": {"rows": 51, "columns": 60},
    "pad": {"rows": 91, "columns": 100, "slices": 20},
    "resize": {"rows": 48, "columns": 64, "slices": 12},
    "hough_circles": {"radii": (6,)},
}
"""What a step cannot do without."""
LOOSE = {"bias_field": 1.0}
"""Pixels: a lone blob is a bias, too, and loses some of one side."""


def names() -> list[str]:
    return [step.model_fields["step"].annotation.__args__[0] for step in STEPS]


@pytest.mark.parametrize("name", names())
def test_a_planted_impulse_returns_to_its_place_after_each_step(name):
    """What the step does to the numbers aside: the place where it is read is that of the source."""
    shape, at = (16, 64, 72), (8.0, 30.0, 37.0)
    source = images(blob(shape, at), WindowCenter=50, WindowWidth=100)
    prepared = run(source, {"step": name, **MINIMAL.get(name, {})})
    planted = np.zeros(prepared.values.shape[:3], np.float32)
    inside = prepared.volume
    places = zip(inside.axes, inside.step, inside.offset, strict=True)
    seen = tuple((at[axis] - offset) / step for axis, step, offset in places)
    planted += blob(planted.shape, seen, 2.0)
    back = prepared.on_source(planted[..., None])[..., 0]
    assert back.shape == shape
    assert ndimage.center_of_mass(back) == pytest.approx(at, abs=0.1)
    image = prepared.values[round(seen[0]), ..., 0]
    peak = np.where(image >= np.median(image) + 0.5 * np.ptp(image), image - image.min(), 0)
    assert ndimage.center_of_mass(peak) == pytest.approx(seen[1:], abs=LOOSE.get(name, 0.3))


def test_every_step_that_a_manifest_may_name_is_one_that_runs():
    assert sorted(names()) == sorted(STEP.core_schema["choices"])


def test_the_geometry_of_what_is_prepared_is_that_of_the_patient():
    source = images(blob((16, 64, 72), (8.0, 30.0, 37.0), 1.5))
    prepared = run(
        source,
        {"step": "resample", "spacing_mm": (1.0, 1.0), "slice_mm": 2.0},
        {"step": "orient", "rows": "F", "columns": "L", "slices": "A"},
        {"step": "crop", "rows": 20, "columns": 50, "slices": 44},
    )
    assert prepared.spacing_mm == pytest.approx((1.0, 2.0, 1.0))
    found = ndimage.center_of_mass(prepared.values[..., 0])
    in_patient = prepared.affine[:3, :3] @ found + prepared.affine[:3, 3]
    assert in_patient == pytest.approx(source.to_patient((8.0, 30.0, 37.0)), abs=0.1)


def test_coronal_slices_are_turned_to_axial_ones_and_maps_return():
    at = (20.0, 12.0, 33.0)
    source = images(blob((48, 32, 72), at), CORONAL)
    table = {"step": "orient", "rows": "P", "columns": "L", "slices": "H"}
    prepared = run(source, table)
    assert prepared.values.shape == (32, 48, 72, 1)
    axes = prepared.affine[:3, :3] / prepared.spacing_mm
    assert axes == pytest.approx(AXIAL)
    back = prepared.on_source(prepared.values)[..., 0]
    assert (back == source.pixels).all()


def test_a_mirrored_image_is_turned_round_and_no_value_changes():
    source = images(textured(), AXIAL * [1, -1, -1])
    prepared = run(source, {"step": "orient", "rows": "P", "columns": "L"})
    assert (prepared.values[..., 0] == source.pixels[:, ::-1, ::-1]).all()
    assert (prepared.on_source(prepared.values)[..., 0] == source.pixels).all()


def test_an_image_in_another_plane_is_not_called_axial():
    with pytest.raises(UnsupportedGeometry, match=r"selection\.orientation"):
        run(images(textured(), CORONAL), {"step": "orient", "rows": "P", "columns": "L"})


@pytest.mark.parametrize("name", ["fit", "resample", "orient"])
def test_millimetres_and_directions_need_geometry(name):
    source = images(textured())
    bare = SourceImages(source.datasets, source.frames, source.pixels)
    with pytest.raises(UnsupportedGeometry, match="known size"):
        run(bare, {"step": name, **MINIMAL[name]})


def test_slices_that_were_added_are_answered_by_those_next_to_them():
    source = images(textured(frames=4))
    prepared = run(source, {"step": "resample", "spacing_mm": (1.0, 1.0), "slice_mm": 1.5})
    assert len(prepared.values) == 8
    assert prepared.nearest.tolist() == sorted(prepared.nearest.tolist())
    assert np.diff(prepared.nearest).tolist() == [2, 2, 2]


def test_a_volume_without_its_last_slice_returns_as_many_as_the_source_has():
    """Masks and maps came back one slice short."""
    prepared = run(
        images(textured(frames=4)), {"step": "crop", "rows": 9, "columns": 9, "slices": 3}
    )
    back = prepared.on_source(np.ones((3, 9, 9, 1), np.float32))[..., 0]
    assert back.shape == (4, 64, 64)
    assert back.any(axis=(1, 2)).tolist() == [True, True, True, False]


def chains(seed: int, count: int) -> list[list[dict]]:
    """Of one to four steps of geometry, drawn by lot; odd sizes, all axes, some turned."""
    random = np.random.default_rng(seed)
    letters = np.array([["P", "A"], ["L", "R"], ["H", "F"]])

    def step() -> dict:
        rows, columns = map(int, random.integers(17, 99, 2))
        slices = None if random.random() < 0.5 else int(random.integers(9, 30))
        turned = random.permutation(letters)[np.arange(3), random.integers(0, 2, 3)].tolist()
        row_mm, column_mm, slice_mm = random.uniform((0.4, 0.4, 1.5), (1.6, 2.4, 6))
        return [
            {"step": "fit", "rows": rows, "columns": columns, "spacing_mm": row_mm},
            {"step": "resample", "spacing_mm": (row_mm, column_mm), "slice_mm": slice_mm},
            {"step": "orient"} | dict(zip(("rows", "columns", "slices"), turned, strict=True)),
            {"step": "crop", "rows": rows, "columns": columns, "slices": slices},
            {"step": "pad", "rows": rows, "columns": columns, "slices": slices},
            {"step": "resize", "rows": rows, "columns": columns, "slices": slices},
        ][random.integers(6)]

    return [[step() for _ in range(random.integers(1, 5))] for _ in range(count)]


def test_what_any_chain_of_steps_moves_lies_where_it_lay_in_the_patient_and_returns():
    shape, at, checked = (16, 40, 44), (8.25, 19.5, 22.0), 0
    source = images(blob(shape, at, 1.2))
    for chain in chains(0, 25):
        prepared = run(source, *chain)
        inner = prepared.volume.inner
        assert prepared.on_source(np.zeros((*inner, 1), np.float32)).shape[:3] == shape, chain
        seen = np.linalg.solve(prepared.affine, [*source.to_patient(at), 1])[:3]
        room = np.maximum(5 / np.abs(prepared.volume.step), 5)
        if not all(r <= place <= n - 1 - r for r, place, n in zip(room, seen, inner, strict=True)):
            continue  # it is cut off
        checked += 1
        assert prepared.volume.to_outer(tuple(seen)) == pytest.approx(at), chain
        found = prepared.volume.to_outer(ndimage.center_of_mass(prepared.values[..., 0]))
        assert found == pytest.approx(at, abs=0.5), chain
        planted = blob(inner, seen, 1.5).astype(np.float32)[..., None]
        found = ndimage.center_of_mass(prepared.on_source(planted)[..., 0])
        assert found == pytest.approx(at, abs=0.5), chain
    assert checked >= 6


def test_padding_and_cropping_move_whole_pixels():
    source = images(textured(frames=1))
    padded = run(source, {"step": "pad", "rows": 71, "columns": 80, "fill": -5})
    assert padded.values[0, 0, 0, 0] == -5
    cropped = apply(padded, [STEP.validate_python({"step": "crop", "rows": 64, "columns": 64})])
    inside = cropped.values[0, 1:-1, 1:-1, 0]
    assert np.isin(inside, source.pixels).all()
    grown = run(source, {"step": "crop", "rows": 100, "columns": 30})
    assert grown.values.shape == (1, 64, 30, 1)


def test_a_window_of_the_header_is_used_frame_by_frame():
    pixels = np.concatenate([plane(0, 50, 100), plane(0, 50, 100)])
    source = images(pixels, WindowCenter=50, WindowWidth=100, VOILUTFunction="LINEAR_EXACT")
    source.datasets[1].WindowWidth = 200
    values = run(source, {"step": "voi"}).values[..., 0]
    assert values[:, 0].tolist() == [[0, 0.5, 1], [0.25, 0.5, 0.75]]


def test_slices_that_were_moved_have_the_window_of_those_next_to_them():
    """Those of another slice were taken, or of none: an error."""
    source = images(np.full((2, 4, 4), 50.0), WindowCenter=50, VOILUTFunction="LINEAR_EXACT")
    for header, width in zip(source.datasets, (100, 20), strict=True):
        header.WindowWidth, header.WindowCenter = width, 50 + width / 4
    finer = {"step": "resample", "spacing_mm": (1.0, 1.0), "slice_mm": 1.0}
    back = {"step": "orient", "rows": "P", "columns": "L", "slices": "F"}
    assert run(source, finer, {"step": "voi"}).values[:, 0, 0, 0] == pytest.approx([0.25] * 6)
    source.datasets[1].WindowCenter = 50
    values = run(source, finer, back, {"step": "voi"}).values[:, 0, 0, 0]
    assert values == pytest.approx([0.5] * 3 + [0.25] * 3)


def test_a_lookup_table_of_the_header_is_used():
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [3, 10, 8], [0, 255, 51]
    source = images(plane(9, 10, 11, 12, 13), VOILUTSequence=[item])
    assert run(source, {"step": "voi"}).values.ravel() == pytest.approx([0, 0, 1, 0.2, 0.2])


def test_monochrome1_is_turned_to_high_values_bright():
    source = images(np.concatenate([plane(0, 0.25, 1)] * 2))
    source.datasets[1].PhotometricInterpretation = "MONOCHROME1"
    values = run(source, {"step": "monochrome1"}).values[..., 0]
    assert values[:, 0].tolist() == [[0, 0.25, 1], [1, 0.75, 0]]


@pytest.mark.parametrize(
    ("table", "given", "expected"),
    [
        ({"step": "rescale", "slope": 2, "intercept": -1}, (0, 1, 3), (-1, 1, 5)),
        ({"step": "log"}, (-3, 0, np.e - 1), (0, 0, 1)),
        ({"step": "gamma", "gamma": 0.5}, (-1, 0.25, 4), (0, 0.5, 2)),
        ({"step": "z_score"}, (1, 2, 3), (-1.224745, 0, 1.224745)),
        ({"step": "z_score"}, (7, 7, 7), (0, 0, 0)),
        ({"step": "clip_percentiles", "low": 25, "high": 75}, (0, 1, 2, 3, 4), (0, 0, 0.5, 1, 1)),
        ({"step": "clip_percentiles"}, (7, 7), (0, 0)),
    ],
)
def test_levels(table, given, expected):
    assert run(images(plane(*given)), table).values.ravel() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["z_score", "clip_percentiles"])
def test_a_statistic_is_taken_over_each_image_or_over_the_series(name):
    pixels = np.concatenate([plane(0, 1, 2), plane(10, 11, 12)])
    alone = run(images(pixels), {"step": name, "over": "image"}).values
    together = run(images(pixels), {"step": name, "over": "series"}).values
    assert alone[0] == pytest.approx(alone[1])
    assert together[0].max() < together[1].min()


@pytest.mark.parametrize("over", ["image", "series"])
def test_equalization_gives_each_level_as_many_pixels(over):
    pixels = textured() ** 3
    values = run(images(pixels), {"step": "histogram_equalization", "over": over}).values
    counts, _ = np.histogram(values[0], 4, (0, 1))
    wanted = counts if over == "image" else np.histogram(values, 4, (0, 1))[0] / 2
    assert wanted == pytest.approx(np.full(4, 64 * 64 / 4), rel=0.1)


def test_clahe_raises_the_contrast_of_a_dark_corner_more_than_of_the_whole():
    pixels = textured(frames=1)
    pixels[0, :32, :32] *= 0.05
    values = run(images(pixels), {"step": "clahe", "limit": 0.1}).values[0, ..., 0]
    before = pixels[0, :32, :32].std() / pixels[0].std()
    assert values[:32, :32].std() / values.std() > 3 * before
    assert (values.min() >= 0, values.max() <= 1) == (True, True)


@pytest.mark.parametrize("name", ["wavelet_denoise", "non_local_means"])
def test_noise_becomes_less_and_edges_stay(name):
    clean = np.zeros((1, 64, 64))
    clean[0, 16:48, 16:48] = 100
    noisy = clean + np.random.default_rng(0).normal(0, 10, clean.shape)
    values = run(images(noisy), {"step": name}).values[..., 0]
    assert np.sqrt(np.mean((values - clean) ** 2)) < 0.6 * 10
    assert values[0, 20:44, 20:44].mean() - values[0, :12].mean() > 90


@pytest.mark.parametrize("over", ["image", "series"])
def test_a_slow_bias_is_taken_out(over):
    rows, columns = np.indices((64, 64)) - 31.5
    tissue = np.where(textured(frames=6) > 500, 200.0, 180.0) * (np.hypot(rows, columns) < 26)
    field = np.exp(0.5 * np.sin(np.linspace(-1, 1, 64)))
    step = {"step": "bias_field", "shrink": 2, "over": over}
    values = run(images(tissue * field), step).values[..., 0]

    def unevenness(volume):
        bright = np.where(tissue == 200, volume, np.nan)
        columns = np.nanmean(bright[..., 8:56], axis=(0, 1))
        return np.nanstd(columns) / np.nanmean(columns)

    assert unevenness(values) < 0.3 * unevenness(tissue * field)


@pytest.mark.parametrize("name", ["wavelet_denoise", "non_local_means", "bias_field", "clahe"])
def test_an_empty_image_goes_through(name):
    values = run(images(np.zeros((1, 32, 32))), {"step": name}).values
    assert np.isfinite(values).all()


def feature(pixels, table) -> np.ndarray:
    prepared = run(images(pixels), table)
    assert prepared.values.shape[-1] == 2
    assert (prepared.values[..., 0] == np.asarray(pixels, np.float32)).all()
    return prepared.values[..., 1]


def test_sobel_is_large_where_there_is_an_edge():
    pixels = np.zeros((1, 32, 32))
    pixels[0, :, 16:] = 10
    edges = feature(pixels, {"step": "sobel"})[0]
    assert set(np.flatnonzero(edges[8] > 1)) == {15, 16}


def test_gabor_answers_to_stripes_of_its_width_in_any_direction():
    columns = np.indices((64, 64))[1]
    across = np.cos(2 * np.pi * columns / 8)[None]
    coarse = np.cos(2 * np.pi * columns / 24)[None]
    step = {"step": "gabor", "wavelength": 8}
    middle = (0, slice(16, 48), slice(16, 48))
    answers = [feature(p, step)[middle].mean() for p in (across, across.swapaxes(1, 2), coarse)]
    assert answers[0] == pytest.approx(answers[1], rel=0.01)
    assert answers[0] > 5 * answers[2]


def test_hough_votes_for_the_centre_of_a_circle():
    rows, columns = np.indices((64, 64))
    disc = (np.hypot(rows - 28, columns - 35) < 12) * 100.0
    votes = feature(disc[None], {"step": "hough_circles", "radii": (8, 12, 16)})[0]
    assert np.hypot(*(np.array(np.unravel_index(votes.argmax(), votes.shape)) - (28, 35))) < 2
    assert votes.max() > 0.5


def test_watershed_gives_a_region_its_mean_and_keeps_edges():
    pixels = np.zeros((1, 64, 64))
    pixels[0, :, 30:] = 100
    means = feature(pixels + np.random.default_rng(0).normal(0, 5, pixels.shape),
                    {"step": "watershed", "regions": 16})[0]  # fmt: skip
    assert len(np.unique(means)) <= 20
    assert means[:, :27].mean() < 10 < 90 < means[:, 33:].mean()


@pytest.mark.parametrize("over", ["image", "series"])
def test_k_means_sorts_levels_into_classes_the_same_in_every_run(over):
    pixels = np.repeat([0.0, 50, 53, 200], 64).reshape(1, 16, 16)
    step = {"step": "k_means", "clusters": 3, "over": over}
    classes = feature(pixels, step)
    assert np.unique(classes).tolist() == [0, 0.5, 1]
    assert (classes[pixels == 50] == classes[pixels == 53][0]).all()
    assert (classes == feature(pixels, step)).all()
    assert (feature(np.full((1, 8, 8), 3.0), step) == 0).all()


def test_geometry_after_features_moves_all_channels_alike():
    source = images(textured())
    sobel, shrink = {"step": "sobel"}, {"step": "resize", "rows": 32, "columns": 32}
    prepared = run(source, sobel, {"step": "k_means"}, shrink)
    assert prepared.values.shape == (2, 32, 32, 3)
    alone = run(images(run(source, sobel).values[..., 1]), shrink)
    assert prepared.values[..., 1] == pytest.approx(alone.values[..., 0], rel=1e-4, abs=1e-4)


def manifest(text: str, channels: int = 1):
    whole = manifest_text().replace("[192, 192, 1]", f"[192, 192, {channels}]")
    return parse(whole.replace('[[outputs]]\nkind = "class', text + '\n[[outputs]]\nkind = "class'))


def test_a_manifest_that_names_features_takes_as_many_channels():
    features = '[[preprocess]]\nstep = "sobel"\n[[preprocess]]\nstep = "k_means"\n'
    assert manifest(features, 3).input.shape[-1] == 3
    for channels in (1, 2, 4):
        with pytest.raises(ValueError, match=r"input\.shape ends in"):
            manifest(features, channels)


def test_a_model_of_slices_moves_none():
    with pytest.raises(ValueError, match="moves slices"):
        manifest('[[preprocess]]\nstep = "pad"\nrows = 192\ncolumns = 192\nslices = 9\n')


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"step": "blur"}, "blur"),
        ({"step": "orient", "rows": "P", "columns": "A"}, "different axes"),
        ({"step": "clip_percentiles", "low": 60, "high": 40}, "low must be less"),
        ({"step": "gamma"}, "gamma"),
    ],
)
def test_a_wrong_step_is_refused_with_the_key(table, says):
    with pytest.raises(ValueError, match=says):
        STEP.validate_python(table)


def test_the_task_is_one_of_the_outputs_and_resources_are_measured_quantities():
    text = manifest_text().replace('task = "classification"', 'task = "segmentation"', 1)
    needs = "memory_gib = 1.5\nseconds = 20\n"
    stated = re.compile(r"memory_gib = \S+\nseconds = \S+\n")
    whole = parse(stated.sub(needs, text))
    assert (whole.task, whole.resources.memory_gib) == ("segmentation", 1.5)
    with pytest.raises(ValueError, match="task is detection"):
        parse(text.replace("segmentation", "detection", 1))
    with pytest.raises(ValueError, match=r"resources\.seconds"):
        parse(stated.sub(needs.replace("20", "0"), text))
