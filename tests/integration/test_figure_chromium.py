"""The figure of a finding: every number can be read from it, and it asks nobody for anything."""

import json
import re

import analyses
import numpy as np
import pytest
from accessibility import axe_source, barriers
from browser import Browser

from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.figure import Curve, Figure, Map, figure_html

pytestmark = [pytest.mark.chromium, pytest.mark.slow]
SIDE = 64
VALUES = np.linspace(0, 12, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
WEAK = VALUES / 100


@pytest.fixture(scope="module")
def case():
    return Case(analyses.analysis(phantom(7, lesions=1, slices=12, size=SIDE)))


@pytest.fixture(scope="module")
def page(case, tmp_path_factory):
    parts = np.linspace(0, 1, 5, dtype=np.float32)
    curves = [
        Curve("insertion", parts, 6 * parts, 0.9),
        Curve("deletion", parts, 6 - 6 * parts, 0.1),
    ]
    others = [
        Map("Grad-CAM", WEAK, full_scale=10),
        Map("RISE", VALUES, "logits that a shown pixel adds"),
        Map("CAM", note="needs a head that averages"),
    ]
    figure = Figure(
        case.analysis.findings[0], Map("LayerCAM", VALUES, full_scale=10), curves, others
    )
    file = tmp_path_factory.mktemp("figure") / "figure.html"
    file.write_text(figure_html(case, figure), "utf-8")
    return file


@pytest.fixture(scope="module")
def browser(tool, tmp_path_factory, page):
    browser = Browser(tool("chromium"), tmp_path_factory.mktemp("profile"))
    browser.media("light", 1300, 1200)
    browser.goto(page.as_uri())
    yield browser
    browser.close()


def said(browser, picture: int, act: str) -> str:
    """What a picture's line says after an act on it."""
    browser.evaluate(f"window.it = document.querySelectorAll('.picture')[{picture}]; {act}")
    line = "it.parentElement.querySelector('output').value"
    browser.wait_for(line)
    return str(browser.evaluate(line))


def pointing(row: int, column: int) -> str:
    """Moves the pointer to the centre of a pixel of the source."""
    return (
        "box = it.getBoundingClientRect(); it.dispatchEvent(new PointerEvent('pointermove', "
        f"{{clientX: box.left + box.width * {(column + 0.5) / SIDE}, "
        f"clientY: box.top + box.height * {(row + 0.5) / SIDE}}}))"
    )


def test_the_value_under_the_pointer_is_read_in_its_unit(browser, case):
    text = said(browser, 2, pointing(20, 33))
    number = float(re.search(r"row 21, column 34: ([\d.]+) logits", text)[1])
    assert number == pytest.approx(VALUES[20, 33], abs=0.001)
    text = said(browser, 0, pointing(40, 10))
    frame = case.analysis.findings[0].frame
    number = float(re.search(r"row 41, column 11: ([-\d.e]+) HU", text)[1])
    assert number == pytest.approx(case.analysis.images.pixels[frame, 40, 10], abs=1)


def test_values_are_read_by_keys_too(browser):
    act = "it.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowDown'}))"
    text = said(browser, 4, act)
    value = float(re.search(r"row 34, column 33: ([\d.]+) logits that", text)[1])
    assert value == pytest.approx(VALUES[33, 32], abs=0.001)


def test_a_weak_map_stays_dark_on_the_scale_of_the_model(browser):
    draw = (
        "c = document.createElement('canvas'); i = document.querySelectorAll('.picture img')[%d];"
        "c.width = i.naturalWidth; c.height = i.naturalHeight; g = c.getContext('2d');"
        "g.drawImage(i, 0, 0); d = g.getImageData(0, 0, c.width, c.height).data;"
        "JSON.stringify([0, 1, 2].map(n => d.filter((_, k) => k %% 4 == n).reduce("
        "(a, b) => Math.max(a, b), 0)))"
    )
    weak, strong = (json.loads(browser.evaluate(draw % n)) for n in (3, 4))
    assert max(weak) < 20
    assert min(strong) > 100


def test_it_says_units_scales_and_why_a_method_is_left_out(browser):
    text = browser.evaluate("document.body.innerText")
    assert "10 and more" in text
    assert "its own scale" in text
    assert "needs a head that averages" in text
    assert "insertion, area 0.90" in text


def test_nothing_keeps_anyone_from_reading_it_and_nobody_is_asked(browser, tool, page):
    assert barriers(browser, axe_source(tool), only_serious=False) == []
    assert browser.evaluate("performance.getEntriesByType('resource').filter("
                            "e => !e.name.startsWith('data:')).length") == 0  # fmt: skip
    assert browser.complaints_so_far() == []
    assert "http:" not in re.sub(r'data-values="[^"]*"|src="[^"]*"', "", page.read_text("utf-8"))
