"""A card says what a model is for, what it learnt from, how good it is and where it ends."""

import errno
from dataclasses import replace

import pytest

from dicom_node.domain.errors import ConfigurationError
from workers.card import refuse_silent

CARD = """# Spots

## Intended use
Finds spots. Not for patients.

## Training data
Spots.

## Performance
### All
Accuracy 0.91 (0.86 to 0.95).

## Limits
Knows brightness.
"""


@pytest.mark.parametrize(
    "card",
    [
        CARD,
        CARD.replace("0.91 (0.86 to 0.95)", "91 % [86, 95]"),
        CARD.replace("### All\nAccuracy 0.91 (0.86 to 0.95)", "Not measured"),
        CARD.replace("## Limits", "### Known limits and biases"),
    ],
)
def test_a_card_that_says_it_all_is_taken(card):
    refuse_silent(card)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("# x\n", "## Intended use: .*## Training data: .*## Performance: .*## Limits: "),
        (CARD.replace("Spots.\n", ""), "add ## Training data: what it learnt from$"),
        (CARD.replace(" (0.86 to 0.95)", ""), "add ## Performance: figures with intervals"),
        (CARD.replace("## Limits\n", ""), "add ## Limits"),
        (CARD.replace("## Intended use", "Intended use"), "add ## Intended use"),
    ],
)
def test_a_card_that_leaves_something_out_is_refused_with_what_to_add(card, words):
    with pytest.raises(ConfigurationError, match=words):
        refuse_silent(card)


def test_packaging_asks_before_it_reads_the_model(tmp_path):
    from dicom_node.domain.images import SourceImages
    from workers.packaging import package_file
    from workers.training.phantom_text import manifest_text

    nothing = SourceImages((), (), None)
    with pytest.raises(ConfigurationError, match=r"card\.md does not say"):
        package_file(tmp_path / "out", tmp_path / "no.keras", manifest_text(), "# x", nothing)
    assert not (tmp_path / "out").exists()


def test_a_savedmodel_is_refused_by_name_and_leaves_nothing_behind(tmp_path):
    from workers.packaging import package_file
    from workers.training.phantom_text import manifest_text

    saved = tmp_path / "saved"
    saved.mkdir()
    with pytest.raises(ConfigurationError, match=r"folder, such as a SavedModel: .*model\.keras"):
        package_file(tmp_path / "out", saved, manifest_text(), CARD, None)
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_a_bundle_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    from workers import packaging

    def half_written(folder, *_):
        folder.mkdir(exist_ok=True)
        (folder / "manifest.toml").write_text("")
        if folder.name == "out":
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packaging, "write_bundle", half_written)
    monkeypatch.setattr(packaging, "load_model", lambda _: None)
    monkeypatch.setattr(packaging, "refuse_code", lambda _: None)
    with pytest.raises(OSError, match="No space left"):
        packaging.package_file(tmp_path / "out", tmp_path / "w.keras", "", CARD, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/below", "full"])
def test_a_place_that_takes_no_bundle_is_refused_before_anything_long(tmp_path, place):
    from workers.packaging import refuse_full

    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(ConfigurationError, match=r"name (a new folder|another place)"):
        refuse_full(tmp_path / place)


def test_a_figure_of_a_subgroup_says_so_on_the_card():
    from workers.training.measures import Figure
    from workers.training.phantom_text import manifest_text
    from workers.training.text import card_text, parse, performance_text

    rows = performance_text({"Right": Figure(0.5, 0.4, 0.6, 9)}, "spots", "Sex: F")
    manifest = parse(manifest_text() + rows)
    assert manifest.card.performance[-1].subgroup == "Sex: F"
    assert "| Right (Sex: F) | 0.500 | 0.400 to 0.600 | 9 |" in card_text(manifest, "", "")


def test_check_tells_a_silent_card_from_one_that_says_it_all(tmp_path):
    from dicom_node.catalog import BundleFolder
    from dicom_node.doctor import Health
    from dicom_node.domain.card import Performance
    from workers.check import _card
    from workers.training.phantom_text import manifest_text
    from workers.training.text import parse

    bundle = BundleFolder(tmp_path, parse(manifest_text()), "")
    (tmp_path / "card.md").write_text(CARD, "utf-8")
    said = _card(bundle)
    assert (said.health, said.found) == (Health.NOTE, "names no subgroup")
    assert "or say which subgroups nobody measured" in said.advice
    told = CARD.replace("### All", "### All, and no subgroups, for who they are is not known")
    (tmp_path / "card.md").write_text(told, "utf-8")
    assert _card(bundle).health is Health.OK
    (tmp_path / "card.md").write_text(CARD, "utf-8")
    row = {"name": "Accuracy", "value": 0.9, "low": 0.8, "high": 1.0, "cases": 9, "data": "spots"}
    rows = parse(manifest_text()).card.model_copy(
        update={"performance": (Performance(**row, subgroup="Sex: F"),)}
    )
    grouped = bundle.manifest.model_copy(update={"card": rows})
    assert _card(replace(bundle, manifest=grouped)).health is Health.OK
    (tmp_path / "card.md").write_text(CARD.replace("## Limits\n", ""), "utf-8")
    said = _card(bundle)
    assert (said.health, said.found) == (Health.NOTE, "does not say: Limits")
    assert "add ## Limits: what it does not know" in said.advice
