"""Are the cases of an evaluation among those that the bundle is made of?"""

from collections.abc import Iterator, Sequence

from dicom_node.domain.card import Card, Learnt
from workers.training.dataset import Example

USES = {"training": "trained on", "choosing": "chosen by"}
NOBODY = (
    "The bundle does not say which cases it was trained on or chosen by: where these are among "
    "them, the figures are too good."
)
TOO_GOOD = "Figures of them are too good: give --fold with the others."


def learnt(card: Card, data: str, examples: Sequence[Example]) -> str:
    """What is known of it, in words; ``data`` is the name of the folder of the cases."""
    if not card.learnt:
        return NOBODY
    among = [row for row in card.learnt if row.data == data and any(_of(row, examples))]
    told = "; ".join(_told(row, examples if row in among else ()) for row in card.learnt)
    if among:
        return f"The bundle was {told}. {TOO_GOOD}"
    return f"The bundle was {told}; these {len(examples)} cases, of {data}, are none of those."


def _told(row: Learnt, examples: Sequence[Example]) -> str:
    folds = f"fold {', '.join(row.folds)} of " if row.folds else ""
    count = sum(_of(row, examples))
    among = f", and {count} of these {len(examples)} cases are of it" if count else ""
    return f"{USES[row.use]} {folds}{row.data}{among}"


def _of(row: Learnt, examples: Sequence[Example]) -> Iterator[bool]:
    return (not row.folds or example.fold in row.folds for example in examples)
