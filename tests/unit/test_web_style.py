"""The pages can be read: every colour of text stands out from every ground (WCAG 2.2, 1.4.3)."""

import re
from pathlib import Path

import pytest

import dicom_node.web

CSS = (Path(dicom_node.web.__file__).parent / "static" / "style.css").read_text()
AA_TEXT = 4.5
TEXTS = ("text", "soft", "link", "present", "absent", "unsure", "busy", "failed", "none", "done")
PAIRS = (
    [(text, ground) for text in TEXTS for ground in ("ground", "panel", "raised")]
    + [("press-text", "press"), ("text", "warning"), ("ground", "failed")]
    + [("focus", "ground"), ("focus", "panel")]
)


def palettes() -> dict[str, dict[str, str]]:
    dark, light = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    colours = r"--([\w-]+): (#[0-9a-f]{6});"
    return {"dark": dict(re.findall(colours, dark)), "light": dict(re.findall(colours, light))}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_every_colour_of_text_stands_out(scheme: str) -> None:
    palette = palettes()[scheme]
    weak = {
        pair: round(contrast(palette[pair[0]], palette[pair[1]]), 2)
        for pair in PAIRS
        if contrast(palette[pair[0]], palette[pair[1]]) < AA_TEXT
    }
    assert weak == {}


def test_both_palettes_name_the_same_colours() -> None:
    assert palettes()["dark"].keys() == palettes()["light"].keys()


def test_nothing_is_loaded_from_elsewhere() -> None:
    assert "url(" not in CSS
    assert "@import" not in CSS
