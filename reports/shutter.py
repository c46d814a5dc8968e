"""Display Shutter: what of an image is to stay black (PS3.3 C.7.6.11, C.11.12)."""

from collections.abc import Mapping, Sequence

from pydicom.dataset import Dataset

from reports.identity import copy_element

SHAPES: Mapping[str, tuple[str, ...]] = {
    "RECTANGULAR": (
        "ShutterLeftVerticalEdge",
        "ShutterRightVerticalEdge",
        "ShutterUpperHorizontalEdge",
        "ShutterLowerHorizontalEdge",
    ),
    "CIRCULAR": ("CenterOfCircularShutter", "RadiusOfCircularShutter"),
    "POLYGONAL": ("VerticesOfThePolygonalShutter",),
}
BLACK = 0


def copy_shutter(state: Dataset, sources: Sequence[Dataset]) -> None:
    """Write the shutter of the images into a presentation state, which alone decides on it.

    Only where all images have the same, and state all of it.
    """
    first = sources[0]
    stated = first.get("ShutterShape") or ()
    shapes = [stated] if isinstance(stated, str) else list(stated)
    wanted = ["ShutterShape", *(keyword for s in shapes for keyword in SHAPES.get(s, (s,)))]
    if not shapes or not all(_same(keyword, sources) for keyword in wanted):
        return
    for keyword in wanted:
        copy_element(state, first, keyword)
    state.ShutterPresentationValue = first.get("ShutterPresentationValue") or BLACK


def _same(keyword: str, sources: Sequence[Dataset]) -> bool:
    values = [source.get(keyword) for source in sources]
    return values[0] not in (None, "") and all(value == values[0] for value in values)
