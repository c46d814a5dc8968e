"""A recipe is checked key by key; what slices show is read from tables and masks; a pause costs
nothing; and what the network may be."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_sets import inserts, save, write_table

from dicom_node.domain.card import Learnt
from dicom_node.domain.errors import ConfigurationError, CorruptBundle
from dicom_node.testing.inserts import cylinder
from workers.progress import silent
from workers.training.dataset import Example, read_data
from workers.training.evaluation.learnt import NOBODY
from workers.training.evaluation.learnt import learnt as of_these
from workers.training.own.augment import changed
from workers.training.own.data import divided
from workers.training.own.lesson import Lesson, collect, read_through, refuse_one_sided
from workers.training.own.recipe import Augment, Folds, Recipe, read_recipe
from workers.training.text import parse, with_learnt

PHANTOM = '{ value = "706342009", scheme = "SCT", meaning = "Phantom" }'
OBJECT = '{ value = "260787004", scheme = "SCT", meaning = "Physical object" }'
SIDE = 32
HEAD = """
schema_version = 1
name = "our-discs"
version = "0.1.0"
title = "Disc finder"
manufacturer = "A group"
[selection]
modality = ["CT"]
[input]
shape = [32, 32, 1]
[[preprocess]]
step = "window"
center = 40
width = 400
[[preprocess]]
step = "resize"
rows = 32
columns = 32
[explanation]
method = "gradcam"
full_scale = 5.0
[card]
intended_use = "A test."
not_for = "Patients."
training_data = "Phantoms."
limits = ["Knows discs."]
"""
LEFT = '{ value = "7771000", scheme = "SCT", meaning = "Left" }'


def classes(*labels: str, more: str = "", of_target: str = "") -> str:
    targets = "".join(
        f"[[outputs.targets]]\nlabel = {label!r}\nfinding = {PHANTOM}\ncategory = {OBJECT}\n"
        f"threshold = 0.5\n{of_target}\n"
        for label in labels
    )
    return f'[[outputs]]\nkind = "classification"\nlayer = "disc"\n{more}\n{targets}'


OUTLINES = f"""
[[outputs]]
kind = "segmentation"
layer = "outlines"
[[outputs.segments]]
label = "Insert"
type = {PHANTOM}
category = {OBJECT}
"""
NUMBER = f"""
[[outputs]]
kind = "regression"
layer = "diameter"
[[outputs.quantities]]
label = "Diameter"
concept = {PHANTOM}
unit = {{ value = "mm", scheme = "UCUM", meaning = "mm" }}
finding = {PHANTOM}
category = {OBJECT}
low = 150
high = 270
"""


def plan(home: Path, *outputs: str, recipe: str = "", head: str = HEAD):
    home.mkdir(parents=True, exist_ok=True)
    (home / "manifest.toml").write_text(head + "".join(outputs), "utf-8")
    (home / "recipe.toml").write_text(recipe, "utf-8")
    return read_recipe(home / "recipe.toml")


def test_an_empty_file_is_a_recipe(tmp_path):
    made = plan(tmp_path, classes("Disc"))
    assert made.recipe == Recipe()
    assert made.recipe.folds.test == ("5",)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("[training]\nepoch = 3", "training.epoch: there is no such key"),
        ("[training]\nepochs = 0", "training.epochs: .* greater than or equal to 1"),
        ("[network]\nbackbone = 'VGG99'", "network.backbone: .*'small'"),
        ("[network]\nbackbone = 'small'\nstart = 'a.keras'", "network: .*leave one of them out"),
        ("[network]\nstart = 'a.keras'", "network.start: there is no a.keras beside it"),
        ("[folds]\ntest = [3]", "folds: .*3 has two uses"),
        ("[augment]\nmirror = ['left']", "augment.mirror.0: .*'columns'"),
        ("manifest = 'other.toml'", "manifest: there is no other.toml beside it"),
        ("epochs 3", "recipe.toml is no TOML"),
    ],
)
def test_a_wrong_key_is_named_with_what_would_be_right(tmp_path, recipe, message):
    with pytest.raises(ConfigurationError, match=message):
        plan(tmp_path, classes("Disc"), recipe=recipe)


def test_recipes_and_manifests_are_read_as_editors_save_them(tmp_path):
    plan(tmp_path, classes("Disc"))
    for name in ("manifest.toml", "recipe.toml"):
        file = tmp_path / name
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_recipe(tmp_path / "recipe.toml").manifest.name == "our-discs"
    for name in ("manifest.toml", "recipe.toml"):
        (tmp_path / name).write_bytes("# Größe\n".encode("latin-1"))
        with pytest.raises(ConfigurationError, match=f"{name} is no UTF-8"):
            read_recipe(tmp_path / "recipe.toml")
        (tmp_path / name).write_bytes(b"")


def test_a_wrong_key_of_the_manifest_is_named_too(tmp_path):
    with pytest.raises(CorruptBundle, match=r"outputs\.0\.classification\.layers"):
        plan(tmp_path, classes("Disc").replace("layer =", "layers ="))


@pytest.mark.parametrize(
    ("outputs", "head", "found"),
    [
        (classes("Disc"), 'unit = "sequence"\nshape = [9, 32, 32, 1]', "the unit sequence"),
        (classes("Disc").replace('"classification"', '"detection"\nboxes = "b"'), "", "detection"),
    ],
)
def test_what_is_not_trained_here_is_refused_with_the_way_out(tmp_path, outputs, head, found):
    text = HEAD.replace("shape = [32, 32, 1]", head) if head else HEAD
    with pytest.raises(ConfigurationError, match=rf"has {found}.*dicom-worker package"):
        plan(tmp_path, outputs, head=text)


def test_a_side_is_not_mirrored(tmp_path):
    sided = classes("Disc", of_target=f"site = {OBJECT}\nlaterality = {LEFT}")
    with pytest.raises(ConfigurationError, match=r"augment.mirror: .*Disc.* mirror = \[\]"):
        plan(tmp_path, sided)
    plan(tmp_path, sided, recipe="[augment]\nmirror = ['rows']")


def test_a_number_may_be_a_size_so_that_images_keep_theirs(tmp_path):
    assert plan(tmp_path, NUMBER).scale == 0
    assert plan(tmp_path, classes("Disc")).scale == 0.1
    assert plan(tmp_path, NUMBER, recipe="[augment]\nscale = 0.2").scale == 0.2


def split(home: Path, *outputs: str, recipe: str = "", **of_data):
    made = plan(home, *outputs, recipe=recipe)
    examples = read_data(inserts(home / "data", "nifti", 10, **of_data))
    return divided(examples, made.recipe.folds, made.manifest)


def test_cases_are_divided_by_their_folds(tmp_path):
    found = split(tmp_path, classes("Disc"), recipe="[folds]\ntrain = [1, 4]\nchoose = [2]")
    assert {each.fold for each in found.train} == {"1", "4"}
    assert {each.fold for each in found.choose} == {"2"}
    assert {each.fold for each in found.test} == {"5"}


def test_what_folds_lack_and_what_is_left_out_is_said(tmp_path):
    found = split(tmp_path, classes("Disc"), recipe="[folds]\ntrain = [1, 2]\nchoose = [4]")
    assert found.notes[0] == "2 cases are left out: the recipe has no use for fold 3"
    made = plan(tmp_path, classes("Disc"))
    examples = [
        replace(e, labels=frozenset()) if e.fold == "4" else e for e in read_data(tmp_path / "data")
    ]
    (note,) = divided(examples, made.recipe.folds, made.manifest).notes
    assert re.fullmatch(r"none of the 2 cases to choose on show Disc: .*", note)


def test_a_file_that_cannot_be_measured_is_found_before_the_training(tmp_path):
    made = plan(tmp_path, classes("Disc"))
    examples = read_data(inserts(tmp_path / "data", "png", 4, masks=False))
    examples[-1].image.write_bytes(b"broken")
    with pytest.raises(ConfigurationError, match=f"{examples[-1].image.name} is no image"):
        read_through(examples, made.manifest, None, silent)


def test_the_bundle_knows_which_folds_it_is_made_of(tmp_path):
    made = plan(tmp_path, classes("Disc"))
    home = inserts(tmp_path / "data", "nifti", 10, masks=False)
    rows = [Learnt(data="data", folds=("1", "2", "3"), use="training")]
    text = with_learnt(with_learnt(made.text, rows), rows)
    card = parse(text).card
    assert list(card.learnt) == rows
    assert parse(made.text).model_copy(update={"card": card}) == parse(text)
    told = of_these(card, "data", read_data(home))
    assert "trained on fold 1, 2, 3 of data, and 6 of these 10 cases are of it" in told
    assert "too good: give --fold" in told
    assert "are none of those" in of_these(card, "others", read_data(home))
    assert of_these(made.manifest.card, "data", read_data(home)) == NOBODY


@pytest.mark.parametrize(
    ("outputs", "recipe", "message"),
    [
        ((classes("Ring"),), "", "the data has the labels disc, and our-discs@0.1.0 knows ring"),
        ((classes("Disc", "Ring"),), "", "lack a case that shows Ring"),
        ((classes("Disc"),), "[folds]\ntest = [9]", "no case is in the folds 9; the data has 1, 2"),
        ((OUTLINES,), "", "cannot be measured .* mask"),
        ((classes("Disc"), OUTLINES), "", "lack a column mask"),
        ((NUMBER.replace("Diameter", "Mass"),), "", "a column Mass with the true number in mm"),
    ],
)
def test_data_that_teaches_nothing_is_refused(tmp_path, outputs, recipe, message):
    with pytest.raises(ConfigurationError, match=message):
        split(tmp_path, *outputs, recipe=recipe, masks=False)


def test_a_step_that_reads_headers_needs_dicom(tmp_path):
    head = HEAD.replace('step = "window"\ncenter = 40\nwidth = 400', 'step = "voi"')
    made = plan(tmp_path, classes("Disc"), head=head)
    examples = read_data(inserts(tmp_path / "data", "png", 10, masks=False))
    with pytest.raises(ConfigurationError, match="voi reads the header"):
        divided(examples, made.recipe.folds, made.manifest)
    examples = read_data(inserts(tmp_path / "dicom", "dicom", 10, masks=False))
    assert divided(examples, made.recipe.folds, made.manifest)


def lesson(home: Path, *outputs: str, **of_data) -> Lesson:
    made = plan(home, *outputs)
    examples = read_data(inserts(home / "data", "nifti", 4, **of_data))
    return collect(examples, made.manifest, None, silent, "to train on")


def test_slices_of_single_images_show_what_their_row_says(tmp_path):
    found = lesson(tmp_path, classes("Disc"), masks=False)
    assert found.images.shape == (4, SIDE, SIDE, 1)
    assert found.images.max() <= 1  # after the window
    np.testing.assert_array_equal(found.answers["classification"][:, 0], [0, 1, 0, 1])


def test_what_excludes_each_other_has_a_channel_for_the_rest(tmp_path):
    rest = classes("Disc", more='exclusive = true\nrest = "No disc"')
    found = lesson(tmp_path, rest, masks=False)
    np.testing.assert_array_equal(found.answers["classification"], [[0, 1], [1, 0]] * 2)


def test_without_a_rest_cases_that_show_nothing_are_left_out(tmp_path):
    shared = classes("Disc", "Ring", more="exclusive = true")
    found = lesson(tmp_path / "no", shared, masks=False)
    np.testing.assert_array_equal(found.answers["classification"], [[1, 0], [1, 0]])
    with pytest.raises(ConfigurationError, match="of 2 slices to train on, 2 show Disc"):
        refuse_one_sided(found, plan(tmp_path, classes("Disc")).manifest)


def test_folds_of_which_nothing_is_known_are_refused(tmp_path):
    examples = [e for e in read_data(inserts(tmp_path / "d", "nifti", 4)) if not e.labels]
    made = plan(tmp_path, classes("Disc", "Ring", more="exclusive = true"))
    with pytest.raises(ConfigurationError, match="of no slice to choose on the table says"):
        collect(examples, made.manifest, None, silent, "to choose on")


def one_case(home: Path, mask: np.ndarray | None, label: str = "Disc"):
    source = cylinder(3, ("disc",), slices=3, size=SIDE).phantom
    save(source.hu, source, home / "0.nii.gz")
    row = {"image": "0.nii.gz", "patient": "a", "label": label}
    if mask is not None:
        save(mask.astype("u1"), source, home / "mask.nii.gz")
        row["mask"] = "mask.nii.gz"
    write_table(home, [row])
    return read_data(home)


def collected(home: Path, mask: np.ndarray | None, *outputs: str) -> Lesson:
    examples = one_case(home / "data", mask)
    return collect(examples, plan(home, *outputs).manifest, None, silent, "to train on")


def test_slices_of_a_series_show_what_its_mask_shows(tmp_path):
    mask = np.zeros((3, SIDE, SIDE), bool)
    mask[1, 4:9, 4:9] = True
    located = classes("Disc", of_target='located_by = "Insert"')
    found = collected(tmp_path, mask, located, OUTLINES)
    np.testing.assert_array_equal(found.answers["classification"][:, 0], [0, 1, 0])
    np.testing.assert_array_equal(found.answers["segmentation"][..., 0], mask)


def test_a_series_of_which_nobody_says_where_it_shows_something_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="give it a mask, or each slice a row"):
        collected(tmp_path / "none", None, classes("Disc"))
    with pytest.raises(ConfigurationError, match="its mask is empty"):
        collected(tmp_path / "empty", np.zeros((3, SIDE, SIDE), bool), classes("Disc"))


def test_numbers_are_those_of_the_table_and_what_is_not_known_is_nan(tmp_path):
    found = lesson(tmp_path, classes("Disc"), NUMBER, OUTLINES, masks=False, slices=1)
    assert (found.answers["regression"] > 100).all()
    known = ~np.isnan(found.answers["segmentation"]).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(known, [True, False, True, False])  # without a disc: nothing


def test_rare_answers_are_drawn_more_often_than_they_come(tmp_path):
    images, shown = np.zeros((20, 2, 2, 1), np.float32), np.zeros((20, 1), np.float32)
    shown[:2] = 1
    chance = Lesson(images, {"classification": shown}).rarity
    assert chance.sum() == pytest.approx(1)
    assert chance[0] / chance[-1] == pytest.approx((18 / 2) ** 0.5)


def spot() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.indices((64, 64))
    mask = ((rows - 40) ** 2 + (columns - 20) ** 2 < 90)[..., None].astype(np.float32)
    return mask.copy() * 3 - 1, mask


def test_images_and_masks_move_together():
    image, masks = spot()
    moved = 0
    for seed in range(20):
        plan = Augment(share=1, intensity=0, mirror=("columns", "rows"))
        new, mask = changed(image, masks, plan, 0.1, np.random.default_rng(seed))
        shown, drawn = new[..., 0] > 0.5, mask[..., 0] > 0.5
        assert (shown & drawn).sum() > 0.97 * (shown | drawn).sum()
        moved += (drawn & (masks[..., 0] > 0.5)).sum() < 0.5 * masks.sum()
        assert new.min() >= -1.001  # beyond the image lies its lowest value
    assert moved > 5


def test_a_share_of_none_changes_nothing_and_masks_nobody_knows_stay_unknown():
    image, masks = spot()
    kept, mask = changed(image, masks, Augment(share=0), 0.1, np.random.default_rng(0))
    np.testing.assert_array_equal(kept, image)
    np.testing.assert_array_equal(mask, masks)
    unknown = np.full_like(masks, np.nan)
    _, mask = changed(image, unknown, Augment(share=1), 0.1, np.random.default_rng(0))
    assert np.isnan(mask).all()


def test_the_folds_are_named_as_the_table_names_them():
    assert Folds(train=[1, "b"]).train == ("1", "b")


def learnt(made, folder, progress=silent, epochs=5):
    """Weights, and how it ended, of a few slices of noise."""
    import keras

    from workers.training.checkpoint import Checkpoint
    from workers.training.own.fit import fit
    from workers.training.own.network import Seen, build

    rng = np.random.default_rng(1)
    images = rng.normal(0, 1, (12, SIDE, SIDE, 1)).astype(np.float32)
    answers = {
        "classification": rng.integers(0, 2, (12, 1)).astype(np.float32),
        "segmentation": (images > 1).astype(np.float16),
    }
    given = Lesson(images, {each.kind: answers[each.kind] for each in made.manifest.outputs})
    keras.utils.set_random_seed(made.recipe.training.seed)
    network = build(made, Seen())
    fitted = fit(network, made, given, given, Checkpoint(folder / "state.npz", "x"), progress)
    return network.get_weights(), fitted


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_stopped_training_goes_on_from_its_last_epoch_to_the_same_weights(tmp_path):
    recipe = "[training]\nepochs = 5\nbatch = 4\nrate = 1e-2\n"
    made = plan(
        tmp_path, classes("Disc", of_target='located_by = "Insert"'), OUTLINES, recipe=recipe
    )
    whole, ended = learnt(made, tmp_path / "whole")

    def stop_in_the_third(what, part):
        if "epoch 3" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learnt(made, tmp_path / "paused", stop_in_the_third)
    told = []
    resumed, ended_again = learnt(made, tmp_path / "paused", lambda what, _: told.append(what))
    assert "epoch 3 of 5" in told[0]
    assert ended_again == ended
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, other)
    told.clear()
    again, _ = learnt(made, tmp_path / "paused", lambda what, _: told.append(what))
    assert told == []  # all is done
    np.testing.assert_array_equal(again[0], whole[0])
    other = replace(
        made,
        recipe=made.recipe.model_copy(
            update={"training": made.recipe.training.model_copy(update={"seed": 1})}
        ),
    )
    weights, _ = learnt(other, tmp_path / "other")
    assert not np.array_equal(weights[0], whole[0])


class Weights:
    """As much of a network as its training is named by."""

    def __init__(self, *values):
        self.values = [np.array(value, np.float32) for value in values]

    def get_weights(self):
        return self.values


@pytest.mark.tensorflow
def test_a_training_is_another_where_its_data_changed_though_its_table_did_not(tmp_path):
    from workers.training.own.run import _named

    made = plan(tmp_path, classes("Disc"))
    answers = {"classification": np.zeros((2, 1), np.float32)}
    given = Lesson(np.zeros((2, SIDE, SIDE, 1), np.float32), answers)
    pixels = replace(given, images=given.images + 1)
    corrected = replace(given, answers={"classification": np.ones((2, 1), np.float16)})
    name = _named(made, Weights(1), (given, given))
    assert _named(made, Weights(1), (given, replace(given))) == name
    for lessons in ((pixels, given), (given, pixels), (given, corrected)):
        assert _named(made, Weights(1), lessons) != name
    assert _named(made, Weights(2), (given, given)) != name  # another network to start from
    card = made.manifest.card.model_copy(update={"not_for": "Anything else."})
    worded = replace(made, manifest=made.manifest.model_copy(update={"card": card}))
    assert _named(worded, Weights(1), (given, given)) == name


@pytest.mark.slow
@pytest.mark.tensorflow
def test_it_stops_where_nothing_gets_better_and_keeps_the_best(tmp_path):
    recipe = "[training]\nepochs = 60\nbatch = 4\nrate = 0.5\npatience = 2\n"
    made = plan(tmp_path, classes("Disc"), recipe=recipe)
    _, ended = learnt(made, tmp_path / "state")
    assert ended.epochs == ended.best_epoch + 2 < 60


BACKBONES = ("small", "MobileNetV3Small", "EfficientNetV2B0", "DenseNet121")


def drawn(home: Path, backbone: str):
    from workers.training.own.network import Seen, build

    recipe = f"[network]\nbackbone = '{backbone}'"
    outputs = (classes("Disc"), NUMBER, OUTLINES)
    made = plan(home, *outputs, recipe=recipe, head=HEAD.replace("32", "64"))
    return made, build(made, Seen(0.5, 0.2))


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_each_backbone_has_the_heads_that_the_manifest_names(tmp_path, backbone):
    from workers.heads import heads

    made, network = drawn(tmp_path, backbone)
    shapes = {name: head.values.shape for name, head in heads(network, made.manifest).items()}
    assert shapes["classification"] == (None, 1)
    assert shapes["segmentation"][1] >= 32  # of 64: at least half of the resolution


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_network_is_served_and_explained_from_the_start(tmp_path):
    from workers.keras_model import KerasModel

    made, network = drawn(tmp_path, "small")
    images = np.random.default_rng(0).random((2, 64, 64, 1), np.float32)
    said = KerasModel(made.manifest, network).predict(images)
    assert (np.abs(said.heads["regression"] - 210) < 200).all()  # in its unit
    assert said.attribution.maps.shape[:2] == (2, 1)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_network_starts_from_a_groups_features_or_from_the_whole_of_theirs(tmp_path):
    import keras

    from workers.keras_model import KerasModel
    from workers.training.own.network import Seen, build

    image = keras.Input((None, None, 1))
    cells = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="theirs")
    features = keras.layers.Conv2D(8, 3, strides=2, padding="same")(cells(image))
    keras.Model(image, features).save(tmp_path / "features.keras")
    outputs, recipe = (classes("Disc"), OUTLINES), "[network]\nstart = '{}.keras'"
    made = plan(tmp_path, *outputs, recipe=recipe.format("features"))
    network = build(made, Seen())
    model = KerasModel(made.manifest, network)
    assert model.predict(np.zeros((1, SIDE, SIDE, 1), np.float32)).logits.shape == (1, 1)
    theirs = network.get_layer("start").get_layer("theirs")
    np.testing.assert_array_equal(theirs.get_weights()[0], cells.get_weights()[0])
    network.save(tmp_path / "whole.keras")
    whole = build(plan(tmp_path, *outputs, recipe=recipe.format("whole")), Seen())
    for one, other in zip(network.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    answer = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(features))
    keras.Model(image, answer).save(tmp_path / "other.keras")
    with pytest.raises(ConfigurationError, match="gives no features"):
        build(plan(tmp_path, *outputs, recipe=recipe.format("other")), Seen())


def test_a_bar_keeps_its_line_while_its_words_change():
    from io import StringIO

    from rich.console import Console

    from workers.console import Bars

    out = StringIO()
    with Bars(Console(file=out, width=120)) as show:
        for epoch in (1, 2, 3):
            show(f"training, epoch {epoch} of 3, loss 0.{epoch}", epoch / 3)
        show("measuring", 1)
    lines = [line for line in out.getvalue().splitlines() if line.strip()]
    assert ["epoch 3 of 3, loss 0.3" in lines[0], "measuring" in lines[1]] == [True, True]
    assert len(lines) == 2


def test_a_card_says_where_the_data_names_no_patients():
    """Then nobody knows that the folds share none."""
    from workers.training.own.data import Split
    from workers.training.own.run import _assumed

    known = [Example("a", Path("a.png"), frozenset(), "1", patient="p")]
    unknown = [replace(known[0], patient=None)]
    assert _assumed(Split(known, known, known)) == ""
    said = " as far as the folds say (2 cases name no patient)"
    assert _assumed(Split(known, unknown, unknown)) == said
