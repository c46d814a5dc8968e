"""A slice with all that is drawn over it, made once: its pictures differ in the heat alone."""

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import BoolArray, FloatArray
from reports.key_slices import KeySlice, boxes_in, segments_in
from reports.marks import Type, mark, write_number
from reports.outline import Color, Outline, outline
from reports.overlay import BOX_COLOR, REGION_COLOR, Scene, add_heat, box_mask, to_image


@dataclass(frozen=True)
class Annotated:
    """Lines lie over the heat, and words over the lines."""

    view: Scene
    lines: tuple[Outline, ...]
    words: Image.Image
    """RGBA, of the size of the scene: numbers and marks."""

    def image(self, heat: FloatArray | None = None) -> Image.Image:
        """The picture, with heat in parts of full scale, (rows, columns) of the source."""
        canvas = self.view.rgb()
        if heat is not None:
            add_heat(canvas, self.view.enlarged(heat))
        for line in self.lines:
            line.draw(canvas)
        image = to_image(canvas)
        image.paste(self.words, (0, 0), self.words)
        return image


def annotated(analysis: Analysis, view: Scene, key: KeySlice, kind: Type) -> Annotated:
    """Outlines, boxes and numbers of a key slice, and the marks of every picture."""
    places = marked(analysis, key)
    regions = [region for region in key.regions if region.any()]
    words = Image.new("RGBA", view.size)
    for each in places:
        write_number(words, *each, kind)
    mark(words, view, kind)
    return Annotated(
        view,
        (
            *(outline(region, view.size, REGION_COLOR, dashed=True) for region in regions),
            *(outline(mask, view.size, color) for _number, mask, color in places),
        ),
        words,
    )


def marked(analysis: Analysis, key: KeySlice) -> list[tuple[int, BoolArray, Color]]:
    """Number, pixels and colour of each segment and box that can be seen in the slice."""
    return [place for place in _places(analysis, key) if place[1].any()]


def _places(analysis: Analysis, key: KeySlice) -> Iterator[tuple[int, BoolArray, Color]]:
    """Number, pixels and colour of each segment and box in the slice."""
    for segment in segments_in(analysis, key.frame):
        yield segment.number, segment.mask[key.frame], segment.color
    for number, _finding, box in boxes_in(analysis, key):
        yield number, box_mask(box, analysis.images), BOX_COLOR
