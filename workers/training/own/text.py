"""What training adds to a draft manifest: what was learnt from, the colour bar, and figures."""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import tomlkit
from tomlkit.items import Table

from workers.training.measures import Figure

INTERVALS = "from samples of patients, or of cases where the data does not say whose they are"
DECISION = (
    "Each target is Present from its threshold in the manifest on; a number is the median of those "
    "of the slices; an outline is what reaches its segment's threshold."
)


def without_figures(manifest: str, told: str) -> str:
    """A draft whose card says what was trained on, and holds no figures of an earlier training."""
    document = tomlkit.parse(manifest)
    card = _table(document, "card")
    card["training_data"] = f"{str(card['training_data']).rstrip()} {told}"
    card.pop("performance", None)
    return tomlkit.dumps(document)


def with_full_scale(manifest: str, full_scale: float) -> str:
    """The same with another end of the colour bar."""
    document = tomlkit.parse(manifest)
    _table(document, "explanation")["full_scale"] = full_scale
    return tomlkit.dumps(document)


def with_figures(manifest: str, figures: Mapping[str, Figure], data: str) -> str:
    """The same with figures that were measured on ``data``."""
    document = tomlkit.parse(manifest)
    rows = _table(document, "card").setdefault("performance", tomlkit.aot())
    for name, figure in figures.items():
        numbers = {key: round(value, 4) for key, value in asdict(figure).items()}
        if np.isfinite(list(numbers.values())).all():
            rows.append(tomlkit.item({"name": name, "data": data, **numbers}))
    return tomlkit.dumps(document)


def _table(document: tomlkit.TOMLDocument, name: str) -> Table:
    table = document[name]
    if not isinstance(table, Table):
        raise TypeError(f"{name} is a table in every manifest")
    return table
