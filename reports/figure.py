"""One figure a finding, for research: the image, its map, the curves, and all methods in a row.

A page of its own beside the report. The value under the pointer is read from the numbers, which the
page carries with each picture; nothing is asked of any server.
"""

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.findings import Answer, Finding
from reports import wording
from reports.case import Case
from reports.colormap import colors
from reports.html import data_url
from reports.key_slices import segments_in
from reports.language import percent
from reports.outline import outline as drawn
from reports.overlay import BOX_COLOR, Scene, add_outlines, box_mask, scene, to_image
from reports.settings import DISCLAIMER

TEMPLATES = Path(__file__).parent / "templates"
LONGEST = 512
"""Pixels of the longer side of a picture."""
LEVELS, SHORT = 65_535, 100
BAR = Markup(  # noqa: S704
    ", ".join("rgb({},{},{})".format(*colors(np.array(part / 16))) for part in range(17))
)


@dataclass(frozen=True)
class Map:
    """What one method says of the slice, or why it cannot."""

    name: str
    values: FloatArray | None = None
    """(rows, columns) of the source, at least 0; none where the method refuses the model."""
    unit: str = "logits"
    full_scale: float = 0.0
    """Upper end of the colour bar; 0: the map's own peak, for no scale of the model fits."""
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """The score while pixels leave (deletion) or come (insertion), hottest first."""

    name: str
    parts: FloatArray
    """0 to 1: of the pixels that have left or come."""
    logits: FloatArray
    area: float | None


@dataclass(frozen=True)
class Figure:
    """All that is drawn."""

    finding: Answer
    main: Map
    curves: Sequence[Curve]
    others: Sequence[Map]
    score: str = "log-odds"
    """What the curves show."""


def figure_html(case: Case, figure: Figure) -> str:
    """A self-contained page: pictures as ``data:`` URLs, one small script, no outside request."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("figure.html").render(_values(case, figure))


def _values(case: Case, figure: Figure) -> dict[str, Any]:
    finding, images = figure.finding, case.analysis.images
    view = scene(images, case.header(finding.frame), finding.frame, LONGEST)
    explanation = finding.explanation
    gray = {"values": images.pixels[finding.frame], "unit": _unit(case)}
    return {
        "disclaimer": DISCLAIMER,
        "style": Markup((TEMPLATES / "figure.css").read_text("utf-8")),  # noqa: S704
        "script": Markup((TEMPLATES / "figure.js").read_text("utf-8")),  # noqa: S704
        "title": _title(case.analysis, finding),
        "place": view.place,
        "model": case.analysis.manifest.id,
        "where": wording.place_text(finding),
        "quality": wording.quality_text(explanation.quality) if explanation else "",
        "source": _picture(view.rgb(), **gray),
        "outlined": _picture(_outlined(case, figure, view), **gray),
        "main": _map(figure.main, view),
        "others": [_map(each, view) for each in figure.others],
        "plot": {**_plot(figure.curves), "score": figure.score},
        "bar": BAR,
    }


def _title(analysis: Analysis, answer: Answer) -> str:
    if not isinstance(answer, Finding):
        return wording.measured(analysis, answer)
    presence = answer.presence.value.lower()
    chance = percent(answer.probability, answer.target.threshold)
    return f"{answer.code.meaning}, {presence}, probability {chance}"


def _unit(case: Case) -> str:
    return "HU" if str(case.sources.first.get("Modality")) == "CT" else "as stored"


def _outlined(case: Case, figure: Figure, view: Scene) -> Any:
    picture, finding = view.rgb(), figure.finding
    region = finding.explanation.region if finding.explanation else None
    outline = region.outline if region and region.frame == finding.frame else None
    add_outlines(picture, segments_in(case.analysis, finding.frame), finding.frame, outline)
    if finding.box is not None:
        size = (picture.shape[1], picture.shape[0])
        drawn(box_mask(finding.box, case.analysis.images), size, BOX_COLOR).draw(picture)
    return picture


def _map(shown: Map, view: Scene) -> dict[str, Any]:
    described = {"name": shown.name, "unit": shown.unit, "note": shown.note, "picture": None}
    if shown.values is None:
        return described
    full_scale = shown.full_scale or float(shown.values.max())
    parts = view.enlarged(shown.values) / full_scale if full_scale else view.gray * 0
    picture = _picture(colors(parts).astype(np.float32), shown.values, shown.unit)
    ticks = [f"{full_scale * part:.3g}" for part in (0, 0.5, 1)]
    if shown.values.max() > full_scale:
        ticks[-1] += " and more"
    return {**described, "picture": picture, "ticks": ticks, "own": not shown.full_scale}


def _picture(picture: Any, values: FloatArray, unit: str) -> dict[str, Any]:
    """A picture, and the numbers beneath its pixels: 16 bits each, packed."""
    low, high = float(values.min()), float(values.max())
    step = (high - low) / LEVELS or 1.0
    levels = ((values - low) / step).round().astype("<u2")
    packed = base64.b64encode(zlib.compress(levels.tobytes(), 6)).decode("ascii")
    image: Image.Image = to_image(picture)
    return {
        "url": data_url(image),
        "width": image.width,
        "height": image.height,
        "rows": values.shape[0],
        "columns": values.shape[1],
        "values": packed,
        "low": low,
        "step": step,
        "unit": unit,
    }


def _plot(curves: Sequence[Curve]) -> Mapping[str, Any]:
    """Points of the curves in a box of 100 by 100, from the top left, and the ends of its axes."""
    every = np.concatenate([curve.logits for curve in curves]) if curves else np.zeros(1)
    low, high = float(every.min()), float(every.max())
    spread = (high - low) or 1.0
    lines = [
        {
            "name": curve.name,
            "points": " ".join(
                f"{100 * part:.1f},{100 * (high - logit) / spread:.1f}"
                for part, logit in zip(curve.parts, curve.logits, strict=True)
            ),
            "area": "flat" if curve.area is None else f"{curve.area:.2f}",
        }
        for curve in curves
    ]
    return {"lines": lines, "low": _short(low), "high": _short(high)}


def _short(number: float) -> str:
    """What has room beside an axis."""
    return f"{number:.1f}" if abs(number) < SHORT else f"{number:.3g}"
