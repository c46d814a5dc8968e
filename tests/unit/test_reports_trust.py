"""What is said of a map's checks is said in the language of the report, and the page says it."""

import dataclasses

import analyses
import pytest

from dicom_node.testing.phantom import phantom
from explain.thorough import CHECKS
from explain.verdict import AGREE, MEANINGS, OF_NUMBERS, UNSURE
from reports.case import Case
from reports.html import report_html
from reports.language import speaking
from reports.terms import term
from reports.verdict import verdict
from reports.wording import quality_text
from workers import trust

SAID = [
    *(text for m in MEANINGS.values() for text in (m.name.meaning, m.meaning, m.failed)),
    *(text for c in CHECKS for t in c.told for text in (t.name.meaning, t.meaning)),
    *(
        AGREE,
        UNSURE,
        trust.FAILED,
        trust.NOT_FITTED,
        trust.NOTHING_THERE,
        trust.EMPTY,
        trust.FAINT,
        trust.NO_MEASURE,
    ),
    *(trust.POINTS, trust.concepts.POINTING.meaning),
    trust.concepts.MAP_HITS.meaning,
    *(trust.concepts.COMPLETENESS.meaning, trust.INCOMPLETE, *OF_NUMBERS.values()),
]
WITHOUT = (
    "Without what the model outlined, the probability on this slice falls from 97% to 3%: the "
    "finding would not be reported."
)
OTHERS = [
    "Without what the model outlined on this image alone, the probability falls from 97% to 3%: "
    "the finding would not be reported.",
    "Without the place that the map names on this image alone, the probability is 96%, and was "
    "97%: the rest of the images keeps it up.",
    "Without the place that the map names, the number on this slice is 30 mm, and was 205 mm.",
    "Without all places that the map shows strongly, the number on this slice is 3, and was 20.",
    "Without the place that the map names on this image alone, the number is 3, and was 20.",
    "Noisy copies of the key slice get probabilities from 90% to 97%.",
]
OPEN = "At a coverage of 95%, the probability leaves open: present only."


@pytest.mark.parametrize("language", ["de", "zh-Hans"])
def test_every_word_about_a_map_is_translated(language):
    with speaking(language):
        assert [text for text in SAID if term(text) == text] == []
        left_out = term(
            "Left out, for the time given to checks was spent: Deletion area / Insertion area."
        )
        assert "Deletion area" not in left_out


def test_sentences_with_numbers_are_translated_with_their_numbers():
    with speaking("de"):
        assert term(WITHOUT) == (
            "Ohne das vom Modell Umrissene fällt die Wahrscheinlichkeit auf dieser Schicht von 97% "
            "auf 3%: Der Befund würde nicht gemeldet."
        )
        assert [term(text) for text in OTHERS if "the" in term(text).split()] == []
        assert term(OPEN).endswith("lässt die Wahrscheinlichkeit offen: nur vorhanden.")


LEFT_OUT = "Left out, for the time given to checks was spent: Deletion area / Insertion area."


def test_what_was_left_out_is_said_beside_the_numbers_and_is_no_reason():
    given = analyses.analysis(phantom(7, slices=12, size=64))
    explanation = given.findings[0].explanation
    quality = dataclasses.replace(explanation.quality, left_out=LEFT_OUT)
    explanation = dataclasses.replace(explanation, quality=quality)
    case = Case(analyses.with_finding(given, explanation=explanation))
    assert LEFT_OUT in report_html(case)
    assert LEFT_OUT not in quality_text(quality)
    said = [item for item in verdict(quality).ContentSequence if item.ValueType == "TEXT"]
    concepts = {item.TextValue: item.ConceptNameCodeSequence[0].CodeMeaning for item in said}
    assert concepts == {quality.reasons[0]: "Reason", LEFT_OUT: "Comment"}


def test_the_page_says_what_the_finding_hangs_on_and_how_sure_it_is():
    given = analyses.analysis(phantom(7, slices=12, size=64))
    finding = given.findings[0]
    explanation = dataclasses.replace(finding.explanation, counterfactual=WITHOUT)
    told = dataclasses.replace(finding, explanation=explanation, certainty=(OPEN,))
    page = report_html(Case(dataclasses.replace(given, findings=(told, *given.findings[1:]))))
    assert WITHOUT in page
    assert OPEN in page
