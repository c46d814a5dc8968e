"""What the reader is told of input and output beside the answers; ``reports`` translates it."""

from collections.abc import Iterator

from dicom_node.domain.outputs import Quantity
from reports.wording import written


def unlikely(label: str, count: int) -> Iterator[str]:
    """Of regions that no target took."""
    if count:
        yield (
            f"{_places(count)} outlined as {label} in slices whose probability stays "
            "below the operating point; not reported."
        )


def too_small(label: str, count: int) -> Iterator[str]:
    """Of regions below the least volume, where the slices are positive."""
    if count:
        yield f"{_places(count)} outlined as {label}, too small to be one; not reported."


def out_of_range(quantity: Quantity) -> str:
    """Of a number that training never saw."""
    return (
        f"{quantity.label} lies outside of the range that the model was trained on: "
        f"{quantity.low:g} to {quantity.high:g} {written(quantity.unit.code)}."
    )


def unread(share: float) -> str:
    """Of images that reach beyond what the model was shown."""
    return (
        f"The model read the middle {share:.0%} of each image; what lies outside was not searched."
    )


def _places(count: int) -> str:
    return "1 place was" if count == 1 else f"{count} places were"
