"""What comes from bundles, routing and workers is said in the language of the report, too."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import analyses
import pytest
from pydantic import BaseModel

import workers.bundles
from dicom_node.catalog import open_bundle, shipped_bundles
from dicom_node.domain import concepts
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.manifest import SeriesSelection
from dicom_node.domain.outputs import Quantity
from dicom_node.domain.part import CodedConcept
from dicom_node.domain.rule import TagRule
from dicom_node.domain.study import Instance, Series
from dicom_node.routing import FITS, NOT_THE_LARGEST, reason_against
from dicom_node.testing.phantom import phantom
from reports.card_terms import of_card
from reports.case import Case
from reports.language import quantity, speaking
from reports.settings import Language, ReportSettings
from reports.terms import term
from reports.writer import WRITERS, write_results
from workers import notes
from workers.classical.features import FEATURES

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
OTHERS: tuple[Language, ...] = ("de", "zh-Hans")
ALIKE = {"de": {"Phantom", "Ring"}, "zh-Hans": set()}
"""Words that are the same as in English."""
BUNDLES = sorted(Path(workers.bundles.__file__).parent.glob("**/manifest.toml"))
OURS = (concepts.DERIVED_IMAGE, concepts.MEAN_CHANGE)


def named(part: object) -> Iterator[str]:
    """Code meanings and labels in a part of a manifest; units have no words."""
    if isinstance(part, CodedConcept):
        yield from [] if part.scheme == "UCUM" else [part.meaning]
    elif isinstance(part, BaseModel):
        for name in type(part).model_fields:
            value = getattr(part, name)
            yield from [value] if name in ("label", "description") else named(value)
    elif isinstance(part, tuple):
        for each in part:
            yield from named(each)


MEANINGS = {
    *(n for path in BUNDLES for n in named(open_bundle(path.parent).manifest.outputs)),
    *(feature.name.meaning for feature in FEATURES.values()),
    *(code.meaning for code in OURS),
}


def unchanged(texts: set[str], language: Language) -> set[str]:
    with speaking(language):
        return {text for text in texts if term(text) == text}


@pytest.mark.parametrize("language", OTHERS)
def test_every_code_meaning_and_label_of_the_shipped_bundles_is_translated(
    language: Language,
) -> None:
    assert len(BUNDLES) == 12
    assert {"Glioma", "Pituitary gland", "Tumour", "AI denoised", "Diameter"} <= MEANINGS
    assert unchanged(MEANINGS, language) == ALIKE[language]


SHIPPED = [open_bundle(folder).manifest for folder in shipped_bundles()]


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_on_the_card_of_a_shipped_bundle_is_translated(language: Language) -> None:
    """But for the citation, and for what figures were measured on."""
    cards = [model.card for model in SHIPPED]
    texts = {text for c in cards for text in (c.intended_use, c.not_for, c.training_data)}
    texts |= {limit for card in cards for limit in card.limits}
    texts |= {figure.title for card in cards for figure in card.performance}
    with speaking(language):
        assert {text for text in texts if of_card(text) == text} == set()
        title = of_card("Cases called right (tumour area: 558 to 1310 mm²)")
        assert not ENGLISH.search(title)


def test_what_the_author_of_another_card_wrote_stays_as_it_is() -> None:
    with speaking("de"):
        for text in ("Adults or children", "Not for children", "Sensitivity is 1, wanted 2"):
            assert of_card(text) == text


RULES: list[dict[str, str | float]] = [
    {"equals": "A"}, {"contains": "B"}, {"matches": r"\S"}, {"at_least": 9}, {"at_most": 1},
]  # fmt: skip
CHECKS: list[dict[str, object]] = [
    {"Modality": "US"}, {"Modality": None}, {"SOPClassUID": "PETImageStorage"}, {"Rows": None},
    {"Orientation": "OBLIQUE"}, {"Orientation": None}, {"Frames": 1}, {"Frames": 99},
]  # fmt: skip
FITTING = {"Modality": "CT", "SOPClassUID": "CTImageStorage", "Orientation": "AXIAL", "Frames": 9}
ENGLISH = re.compile(
    r"\b(is|wanted|missing|not|or|equals|contains|matches|at|least|most|images|fewer|more|than|"
    r"its|headers|read|modality|class|orientation|holds|fits|but|another|series)\b"
)


def reason(attributes: dict[str, object], unreadable: int = 0, **wanted: object) -> str:
    """Why a series is not taken; empty where it is."""
    one = Instance("1", "1.1", "1.1.1", "1.2", "1.3", "a" * 64, 10)
    given: dict[str, object] = {
        "modality": ("CT", "MR"), "sop_classes": ("CTImageStorage", "MRImageStorage"),
        "orientation": ("AXIAL", "CORONAL"), "min_images": 2, "max_images": 50,
    }  # fmt: skip
    held = {**FITTING, **attributes}
    series = Series("1.1", (one, one), held, unreadable)  # type: ignore[arg-type]
    return reason_against(series, SeriesSelection.model_validate({**given, **wanted})) or ""


def reasons() -> set[str]:
    found = {FITS, NOT_THE_LARGEST, reason({}, 1), reason({}, 2), *map(reason, CHECKS)}
    for comparison in RULES:
        for has in (None, "", "A|B", 5.0, ["A", "B 1.5"]):
            for negate in (False, True):
                rule = TagRule.model_validate(
                    {"keyword": "ContrastBolusAgent", "negate": negate, **comparison}
                )
                found.add(reason({"ContrastBolusAgent": has}, rules=(rule,)))
    return found - {""}


@pytest.mark.parametrize("language", OTHERS)
def test_every_reason_of_routing_is_translated_to_its_last_word(language: Language) -> None:
    given = reasons()
    wanted = {"equals", "contains", "matches", "at least", "at most"}
    said_by = {text.split("wanted ")[1].removeprefix("not ") for text in given if "wanted" in text}
    assert all(any(text.startswith(word) for text in said_by) for word in wanted)
    assert unchanged(given, language) == set()
    with speaking(language):
        assert [term(text) for text in given if ENGLISH.search(term(text))] == []
        of_model = term("phantom-lesion@1.0.0: modality US, not CT")
        assert of_model == f"phantom-lesion@1.0.0: {term('modality US, not CT')}"


def test_a_reason_quotes_header_and_rule_as_they_are() -> None:
    rule = TagRule(keyword="ContrastBolusAgent", matches=r"\S")
    with speaking("de"):
        said = term(reason({"ContrastBolusAgent": None}, rules=(rule,)))
        assert said == r"ContrastBolusAgent fehlt, verlangt: passt auf \S"
        brain = TagRule(keyword="SeriesDescription", contains="Lesion")
        said = term(reason({"SeriesDescription": "Brain 2.5"}, rules=(brain,)))
        assert said == "SeriesDescription ist Brain 2.5, verlangt: enthält Lesion"


QUANTITY = Quantity.model_validate(
    {
        "label": "Diameter", "low": 12.34, "high": 300,
        "concept": {"value": "81827009", "scheme": "SCT", "meaning": "Diameter"},
        "unit": {"value": "mm", "scheme": "UCUM", "meaning": "millimeter"},
        "finding": {"value": "706342009", "scheme": "SCT", "meaning": "Phantom"},
        "category": {"value": "260787004", "scheme": "SCT", "meaning": "Physical object"},
    }
)  # fmt: skip
NOTES = {
    "unlikely": [*notes.unlikely("Tumour", 1), *notes.unlikely("Lesion", 2)],
    "too_small": [*notes.too_small("Glioma", 1), *notes.too_small("Lesion", 3)],
    "out_of_range": [notes.out_of_range(QUANTITY)],
    "unread": [notes.unread(0.83)],
}
"""By the function of ``workers.notes`` that writes them."""


@pytest.mark.parametrize("language", OTHERS)
def test_every_note_of_a_worker_is_translated_with_the_names_in_it(language: Language) -> None:
    writing = {name for name, _ in inspect.getmembers(notes, inspect.isfunction)}
    ours = {name for name in writing if getattr(notes, name).__module__ == notes.__name__}
    assert {name for name in ours if not name.startswith("_")} == NOTES.keys()
    given = {note for each in NOTES.values() for note in each}
    assert unchanged(given, language) == set()
    with speaking(language):
        said = " ".join(map(term, given))
    assert [
        word for word in ("Tumour", "Lesion", "Glioma", "Diameter", "the") if word in said
    ] == []


def test_numbers_in_sentences_are_written_as_in_the_country() -> None:
    with speaking("de"):
        assert term(notes.out_of_range(QUANTITY)) == (
            "Durchmesser liegt außerhalb des Bereichs, auf dem das Modell trainiert wurde: "
            "12,34 bis 300 mm."
        )
        assert "83\xa0%" in term(notes.unread(0.83))
        assert [quantity(t) for t in ("205.1 mm", ">99%", "-0.5", "1.2.840", "2 places")] == [
            "205,1 mm", ">99\xa0%", "-0,5", "1.2.840", "2 places",
        ]  # fmt: skip
    assert quantity("12.34 mm") == "12.34 mm"


TEXTS = (
    "GraphicLayerDescription", "UnformattedTextValue", "ImageComments", "LUTExplanation",
    "WindowCenterWidthExplanation", "DerivationDescription", "SegmentDescription",
    "ContributionDescription", "SeriesDescription",
)  # fmt: skip


def texts_of(language: Language) -> list[tuple[ResultKind, str, str]]:
    given = analyses.analysis(phantom(7, lesions=1, slices=6, size=64))
    results = write_results(Case(given, ReportSettings(language=language)), WRITERS)
    texts = ((r.kind, e) for r in results for e in r.dataset.iterall() if e.keyword in TEXTS)
    return [(kind, str(e.keyword), str(e.value)) for kind, e in texts if e.value]


@pytest.mark.parametrize("language", OTHERS)
def test_texts_of_all_objects_are_in_the_language(language: Language) -> None:
    english, other = texts_of("en"), texts_of(language)
    assert [text[:2] for text in english] == [text[:2] for text in other]
    assert {keyword for _, keyword, _ in english} == set(TEXTS)
    assert [text for text, said in zip(english, other, strict=True) if text == said] == []
