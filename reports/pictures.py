"""The pictures of a key slice: for the page, and the panel that stands alone in a PACS."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from dicom_node.domain.analysis import Analysis, Explanation
from reports import wording
from reports.compass import place
from reports.fonts import drawable, drawable_language
from reports.key_slices import KeySlice, segments_in
from reports.language import _, speaking
from reports.marks import (
    AMBER,
    BLACK,
    PAPER,
    SILVER,
    WHITE,
    Type,
    color_bar,
    legend,
    legend_lines,
    mark,
    number_segments,
)
from reports.outline import draw_outline
from reports.overlay import (
    BOX_COLOR,
    Scene,
    add_heat,
    add_outlines,
    box_mask,
    scene,
    to_image,
)
from reports.settings import DISCLAIMER
from reports.terms import term
from reports.wording import no_evidence

PAGE, PANEL = 620, 800
"""Pixels of the longer side of the slice."""
PAGE_TYPE, PANEL_TYPE = Type(23), Type(22)


@dataclass(frozen=True)
class Picture:
    """One key slice, drawn."""

    key: KeySlice
    place: str
    """How to find the slice in a viewer."""
    outlined: Image.Image
    """The slice with outlines."""
    heated: Image.Image | None
    """The same with heat and colour bar; none where the map names no place or is withheld."""
    panel: Image.Image
    """With heat, legend, finding and model: for Secondary Capture."""


def picture(analysis: Analysis, header: Dataset, key: KeySlice) -> Picture:
    """Draw one key slice; ``header`` is the repaired header of its source image.

    Words are English where this machine has no font for the language that is spoken.
    """
    with speaking(drawable_language()):
        drawn = _pictures(analysis, header, key)
    return replace(drawn, place=place(analysis.images, key.frame, header))


def _pictures(analysis: Analysis, header: Dataset, key: KeySlice) -> Picture:
    view = scene(analysis.images, header, key.frame, PAGE)
    explained = key.explanation is not None and key.explanation.evidence is not None
    return Picture(
        key=key,
        place=view.place,
        outlined=_drawn(analysis, view, key, PAGE_TYPE),
        heated=_heated(analysis, view, key, PAGE_TYPE) if explained else None,
        panel=_panel(analysis, scene(analysis.images, header, key.frame, PANEL), key),
    )


def _drawn(
    analysis: Analysis, view: Scene, key: KeySlice, kind: Type, heat: Explanation | None = None
) -> Image.Image:
    segments = segments_in(analysis, key.frame)
    canvas = view.rgb()
    if heat is not None:
        saliency = heat.saliency
        add_heat(canvas, view.enlarged(saliency.values[key.frame]) / saliency.full_scale)
    add_outlines(canvas, segments, key.frame, key.region)
    for finding in key.findings:
        if finding.box is not None:
            draw_outline(canvas, box_mask(finding.box, analysis.images), BOX_COLOR)
    image = to_image(canvas)
    number_segments(image, segments, key.frame, kind)
    mark(image, view, kind)
    return image


def _heated(analysis: Analysis, view: Scene, key: KeySlice, kind: Type) -> Image.Image:
    """With heat and its bar; without them where the map names no place or is withheld."""
    explanation = key.explanation
    if explanation is None or explanation.evidence is None:
        return _drawn(analysis, view, key, kind)
    image = _drawn(analysis, view, key, kind, explanation)
    bar = color_bar(image.height, explanation.saliency, kind)
    return _beside(image, bar)


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    image = Image.new("RGB", (left.width + right.width, left.height), PAPER)
    image.paste(left, (0, 0))
    image.paste(right, (left.width, 0))
    return image


def _panel(analysis: Analysis, view: Scene, key: KeySlice) -> Image.Image:
    kind = PANEL_TYPE
    body = _heated(analysis, view, key, kind)
    lines = legend_lines(segments_in(analysis, key.frame), region=key.region is not None)
    width = max(body.width, PANEL)
    foot = legend(lines, no_evidence(key.explanation), width, kind)
    parts = [_band(width, kind), _head(analysis, key, width, kind), body, foot]
    return _stacked(parts, width, kind.pad)


def _stacked(parts: Sequence[Image.Image], width: int, pad: int) -> Image.Image:
    image = Image.new("RGB", (width, sum(part.height for part in parts) + pad), PAPER)
    y = 0
    for part in parts:
        image.paste(part, ((width - part.width) // 2, y))
        y += part.height
    return image


def _band(width: int, kind: Type) -> Image.Image:
    image = Image.new("RGB", (width, round(kind.size * 1.9)), AMBER)
    middle = (width / 2, image.height / 2)
    draw = ImageDraw.Draw(image)
    text = _(DISCLAIMER)
    scale = min(1.0, 0.96 * width / draw.textlength(text, kind.font()))
    draw.text(middle, text, fill=BLACK, font=kind.font(scale), anchor="mm")
    return image


def _head(analysis: Analysis, key: KeySlice, width: int, kind: Type) -> Image.Image:
    image = Image.new("RGB", (width, round(kind.size * 3.6)), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((kind.pad, kind.pad), headline(key), fill=WHITE, font=kind.font(1.15))
    at = (kind.pad, kind.pad + kind.size * 1.55)
    draw.text(at, _made_by(analysis, key), fill=SILVER, font=kind.font(0.85))
    return image


def _made_by(analysis: Analysis, key: KeySlice) -> str:
    model = f"{analysis.manifest.title} ({analysis.manifest.id})"
    explanation = key.explanation
    if explanation is None or explanation.withheld:
        return drawable(model, 92)
    return drawable(model + _(", ") + term(explanation.saliency.method.meaning), 92)


def headline(key: KeySlice) -> str:
    """``Lesion present, probability 97%``, in characters that the font has."""
    said = wording.headline(key.findings[0])
    more = len(key.findings) - 1
    return drawable(_("{} (and {} more)").format(said, more) if more else said, 110)
