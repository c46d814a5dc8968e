"""The pictures of a key slice: for the page, and the panel that stands alone in a PACS."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from dicom_node.domain.analysis import Analysis
from reports import wording
from reports.annotated import Annotated, annotated, marked
from reports.compass import place
from reports.derived_scene import derived_scene
from reports.fonts import drawable, drawable_language
from reports.key_slices import KeySlice
from reports.language import N_, _, speaking
from reports.marks import (
    AMBER,
    BLACK,
    PAPER,
    SILVER,
    WHITE,
    Type,
    banner,
    broken,
    color_bar,
    legend,
    legend_lines,
    mark,
)
from reports.overlay import Scene, scene, to_image
from reports.settings import DISCLAIMER
from reports.terms import term
from reports.ultrasound_scale import calibrated
from reports.wording import no_evidence

PAGE, PANEL = 620, 800
"""Pixels of the longer side of the slice."""
PAGE_TYPE, PANEL_TYPE = Type(23), Type(22)
BESIDE = N_("Left: the source image. Right: what the model made of it, in the same window.")


@dataclass(frozen=True)
class Picture:
    """One key slice, drawn."""

    key: KeySlice
    place: str
    """How to find the slice in a viewer."""
    outlined: Image.Image
    """The slice with outlines and boxes."""
    heated: Image.Image | None
    """The same with heat and colour bar; none where no map names a place, or all are withheld."""
    derived: Image.Image | None
    """What the model made of the slice, in the same window; none of a model that makes nothing."""
    panel: Image.Image
    """With heat or what was made, legend, finding and model: for Secondary Capture."""


def picture(analysis: Analysis, header: Dataset, key: KeySlice) -> Picture:
    """Draw one key slice; ``header`` is the repaired header of its source image.

    Words are English where this machine has no font for the language that is spoken.
    """
    with speaking(drawable_language()):
        drawn = _pictures(analysis, header, key)
    return replace(drawn, place=place(analysis.images, key.frame, header))


def _pictures(analysis: Analysis, header: Dataset, key: KeySlice) -> Picture:
    view = _view(analysis, header, key, PAGE)
    drawn = annotated(analysis, view, key, PAGE_TYPE)
    return Picture(
        key=key,
        place=view.place,
        outlined=drawn.image(),
        heated=_heated(drawn, key, PAGE_TYPE),
        derived=_derived(derived_scene(analysis, key, view, header), PAGE_TYPE),
        panel=_panel(analysis, header, key),
    )


def _view(analysis: Analysis, header: Dataset, key: KeySlice, longest: int) -> Scene:
    view = scene(analysis.images, header, key.frame, longest)
    return calibrated(view, header, (mask for _number, mask, _color in marked(analysis, key)))


def _heated(drawn: Annotated, key: KeySlice, kind: Type) -> Image.Image | None:
    """With heat and its bar; none where no map names a place, or all are withheld."""
    explanation, heat = key.explanation, key.heat
    if explanation is None or heat is None:
        return None
    saliency = explanation.saliency
    image = drawn.image(heat / saliency.full_scale)
    return _beside(image, color_bar(image.height, saliency, kind))


def _derived(view: Scene | None, kind: Type) -> Image.Image | None:
    if view is None:
        return None
    image = to_image(view.rgb())
    mark(image, view, kind)
    return image


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    image = Image.new("RGB", (left.width + right.width, left.height), PAPER)
    image.paste(left, (0, 0))
    image.paste(right, (left.width, 0))
    return image


def _panel(analysis: Analysis, header: Dataset, key: KeySlice) -> Image.Image:
    kind = PANEL_TYPE
    view = _view(analysis, header, key, PANEL)
    made = _derived(derived_scene(analysis, key, view, header), kind)
    drawn = annotated(analysis, view, key, kind)
    body = _heated(drawn, key, kind) or drawn.image()
    body = body if made is None else _beside(body, made)
    remark = _(BESIDE) if made else no_evidence(key.explanation)
    width = max(body.width, PANEL)
    foot = legend(legend_lines(analysis, key), remark, width, kind)
    warned = banner(wording.warning(analysis), width, kind)
    parts = [_band(width, kind), warned, _head(analysis, key, width, kind), body, foot]
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
    """In as many lines as it takes: what is absent must not lose its last word at the edge."""
    texts = (headline(analysis, key), WHITE, 1.15), (_made_by(analysis, key), SILVER, 0.85)
    lines = [
        (line, color, kind.font(scale))
        for text, color, scale in texts
        for line in broken(text, width - 2 * kind.pad, kind.font(scale))
    ]
    step = kind.size * 1.55
    image = Image.new("RGB", (width, round(kind.size * 0.5 + step * len(lines))), PAPER)
    draw = ImageDraw.Draw(image)
    for row, (line, color, font) in enumerate(lines):
        draw.text((kind.pad, kind.pad + step * row), line, fill=color, font=font)
    return image


def _made_by(analysis: Analysis, key: KeySlice) -> str:
    model = f"{analysis.manifest.title} ({analysis.manifest.id})"
    explanation = key.explanation
    if explanation is None or explanation.evidence is None:
        return drawable(model)
    return drawable(model + _(", ") + term(explanation.saliency.method.meaning))


def headline(analysis: Analysis, key: KeySlice) -> str:
    """``Lesion present, probability 97%``, in characters that the font has."""
    said = wording.headline(analysis, key.findings[0])
    more = len(key.findings) - 1
    return drawable(_("{} (and {} more)").format(said, more) if more else said)
