"""Marks on and around a picture: orientation, scale, place, colour bar, warning, legend."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.explanation import SaliencyMap
from dicom_node.domain.findings import Finding, SegmentMask
from reports.compass import bar_cm
from reports.fonts import Font, drawable, font
from reports.key_slices import KeySlice, boxes_in, code_of, segments_in
from reports.language import _, number, percent
from reports.outline import Color
from reports.overlay import BOX_COLOR, REGION_COLOR, Rgb, Scene, add_heat, to_image
from reports.terms import term
from reports.text import clean

WHITE, BLACK, AMBER, SILVER = (255, 255, 255), (0, 0, 0), (255, 191, 0), (190, 196, 204)
RED: Color = (155, 28, 28)
WORDS = re.compile(r"[\u3000-\u9fff\uff00-\uffef][，。：；]*|[^\s\u3000-\u9fff\uff00-\uffef]+\s*")
"""Words, and Chinese characters with the stops that follow them."""
PAPER: Color = (14, 17, 22)
"""Of the margins: darker than tissue, lighter than air."""
NARROW = 18
"""Letters a picture must hold in its width, else the scale bar stands above the warning."""
BAR_GRAY = 96.0
"""Tissue on which the colour bar shows its colours, as they look in the picture."""


@dataclass(frozen=True, slots=True)
class Type:
    """Sizes that follow the size of the picture."""

    size: int

    def font(self, scale: float = 1.0) -> Font:
        """For the language that is spoken."""
        return font(round(self.size * scale))

    @property
    def pad(self) -> int:
        """A margin."""
        return round(self.size * 0.6)


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of the legend: what a line in the picture means."""

    color: Color
    dashed: bool
    text: str


def mark(image: Image.Image, scene: Scene, kind: Type) -> None:
    """Write orientation letters, place, scale bar and the warning into a picture."""
    draw = ImageDraw.Draw(image)
    width, height = image.size
    if scene.letters:
        left, right, top, bottom = scene.letters
        _text(draw, (kind.pad, height / 2), left, kind, anchor="lm", scale=1.2)
        _text(draw, (width - kind.pad, height / 2), right, kind, anchor="rm", scale=1.2)
        _text(draw, (width / 2, kind.pad), top, kind, anchor="mt", scale=1.2)
        _text(draw, (width / 2, height - kind.pad), bottom, kind, anchor="mb", scale=1.2)
    _text(draw, (kind.pad, kind.pad), scene.place.replace(_(", "), "\n"), kind, anchor="la")
    warning = _("AI, not for\ndiagnostic use")
    _text(draw, (kind.pad, height - kind.pad), warning, kind, anchor="ld", color=AMBER)
    _scale_bar(draw, scene, kind)


def _text(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    kind: Type,
    *,
    anchor: str,
    color: Color = WHITE,
    scale: float = 0.9,
) -> None:
    font = kind.font(scale)
    draw.text(at, text, fill=color, font=font, anchor=anchor, stroke_width=2, stroke_fill=BLACK)


def _scale_bar(draw: ImageDraw.ImageDraw, scene: Scene, kind: Type) -> None:
    if scene.mm_per_pixel is None:
        return
    width, height = scene.size
    length_cm = bar_cm(width * scene.mm_per_pixel)
    if length_cm is None:
        return
    length = length_cm * 10 / scene.mm_per_pixel
    lift = kind.size * 2.6 if width < kind.size * NARROW else 0
    right, y = width - kind.pad, height - kind.pad - 3 - lift
    left, tick = right - length, kind.size * 0.3
    for thickness, color in ((5, BLACK), (2, WHITE)):
        draw.line([(left, y), (right, y)], fill=color, width=thickness)
        for x in (left, right):
            draw.line([(x, y - tick), (x, y + 2)], fill=color, width=thickness)
    label = f"{number(length_cm)} cm{scene.scale_note}"
    _text(draw, (right, y - tick - 4), label, kind, anchor="rb")


def write_number(
    image: Image.Image, number: int, mask: BoolArray, color: Color, kind: Type
) -> None:
    """Write a number beside the outline of a mask, for the findings table to refer to.

    ``mask`` is (rows, columns) of the source, with at least one pixel.
    """
    rows, columns = np.nonzero(mask)
    x = (columns.max() + 1) / mask.shape[1] * image.width + kind.pad * 0.7
    y = rows.min() / mask.shape[0] * image.height - kind.pad * 0.4
    at = (min(x, image.width - kind.size), max(y, kind.size))
    draw = ImageDraw.Draw(image)
    _text(draw, at, str(number), kind, anchor="lb", color=color, scale=1.1)


def color_bar(height: int, saliency: SaliencyMap, kind: Type) -> Image.Image:
    """The scale of the heat: from 0 to full scale in its units, on grey as in the picture."""
    width = kind.size * 5
    image = Image.new("RGB", (width, height), PAPER)
    top, bottom = kind.size * 3, height - kind.size * 2
    bar = Image.new("RGB", (kind.size, bottom - top))
    bar.paste(to_image(_gradient(bottom - top, kind.size)))
    image.paste(bar, (kind.pad, top))
    draw = ImageDraw.Draw(image)
    draw.rectangle((kind.pad - 1, top - 1, kind.pad + kind.size, bottom), outline=SILVER)
    title = _("evidence\n({})").format(saliency.unit.value if saliency.unit else _("logit"))
    draw.text((kind.pad, kind.pad * 0.6), title, fill=SILVER, font=kind.font(0.8))
    for part in (0.0, 0.5, 1.0):
        y = bottom - part * (bottom - top)
        label = number(saliency.full_scale * part) + (" +" if part == 1 else "")
        _text(draw, (kind.pad + kind.size * 1.4, y), label, kind, anchor="lm", scale=0.85)
    return image


def _gradient(height: int, width: int) -> Rgb:
    values = np.repeat(np.linspace(1, 0, height)[:, None], width, axis=1)
    picture = np.full((height, width, 3), BAR_GRAY, dtype=np.float32)
    add_heat(picture, values)
    return picture


def legend_lines(analysis: Analysis, key: KeySlice) -> list[Line]:
    """What the lines and numbers of a picture mean."""
    segments = segments_in(analysis, key.frame)
    lines = [Line(s.color, False, _segmented(analysis, s)) for s in segments]
    boxes = boxes_in(analysis, key)
    lines += [Line(BOX_COLOR, False, _boxed(number, finding)) for number, finding, _box in boxes]
    named = Line(REGION_COLOR, True, _("place that the map names"))
    return [*lines, named] if key.regions else lines


def _segmented(analysis: Analysis, segment: SegmentMask) -> str:
    name = clean(term(code_of(analysis, segment).meaning), 40)
    return _("{name} {number} (segmented)").format(name=name, number=segment.number)


def _boxed(number: int, finding: Finding) -> str:
    return _("{name} {number} (box), probability {chance}").format(
        name=clean(term(finding.code.meaning), 40),
        number=number,
        chance=percent(finding.probability, finding.target.threshold),
    )


def banner(text: str, width: int, kind: Type) -> Image.Image:
    """A warning across a picture, in as many lines as it takes; of no height without a text."""
    lines = list(broken(text, width - 2 * kind.pad, kind.font()))
    step = round(kind.size * 1.4)
    image = Image.new("RGB", (width, step * len(lines) + kind.pad * bool(lines)), RED)
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        at = (kind.pad, kind.pad / 2 + step * (row + 0.5))
        draw.text(at, drawable(line), WHITE, kind.font(), anchor="lm")
    return image


def broken(text: str, width: float, font: Font) -> Iterator[str]:
    """Lines of a text: between words, or between Chinese characters."""
    line = ""
    for word in WORDS.findall(text):
        if line and font.getlength(line + word.rstrip()) > width:
            yield line.rstrip()
            line = ""
        line += word
    if line:
        yield line.rstrip()


def legend(lines: Sequence[Line], remark: str, width: int, kind: Type) -> Image.Image:
    """The lines one below the other, then what is remarkable; of no height without either."""
    step, top, left = round(kind.size * 1.5), kind.pad // 2, kind.pad * 2 + kind.size * 2
    rows = [(left, line.text, SILVER) for line in lines]
    rows += [(kind.pad, remark, AMBER)] if remark else []
    image = Image.new("RGB", (width, top + step * len(rows)), PAPER)
    draw = ImageDraw.Draw(image)
    for index, (x, text, color) in enumerate(rows):
        at, said = (x, top + step * (index + 0.5)), drawable(text)
        room = (width - x - kind.pad) / draw.textlength(said, kind.font(0.9))
        draw.text(at, said, color, kind.font(0.9 * min(1, room)), anchor="lm")
    for index, line in enumerate(lines):
        _sample(draw, kind.pad, top + step * (index + 0.5), line, kind)
    return image


def _sample(draw: ImageDraw.ImageDraw, x: float, y: float, line: Line, kind: Type) -> None:
    pieces = 3 if line.dashed else 1
    length = kind.size * 2 / (2 * pieces - 1)
    for piece in range(pieces):
        start = x + piece * 2 * length
        draw.line([(start, y), (start + length, y)], fill=line.color, width=3)
