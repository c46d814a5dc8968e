"""What packaging with cases settled, in the words of a manifest and a card that a person wrote."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import tomlkit
from tomlkit.items import AoT, Array, InlineTable, Table

from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.outputs import Target
from workers.training.measures import Figure, Measured
from workers.training.text import table

OF_PLAN = ("method", "full_scale", "layer", "depths")
INTERVALS = (
    "By `dicom-worker package --cases`. 95 % intervals: bootstrap, over patients where they are of "
    "probabilities; Wilson for shares; Hanley and McNeil for areas under a curve."
)


def written(manifest: str, chosen: ModelManifest, measured: Sequence[Measured]) -> str:
    """The text of a manifest, with what was chosen and measured in it; the rest stays.

    Raises ConfigurationError for a text without a table ``[explanation]``.
    """
    before = ModelManifest.model_validate(tomllib.loads(manifest))
    document = tomlkit.parse(manifest)
    plan = document["explanation"]
    if not isinstance(plan, Table):
        raise ConfigurationError("the manifest needs a table [explanation]")
    pairs = zip(_targets(document), before.targets, chosen.targets, strict=True)
    for table_of, old, new in pairs:
        _write_target(table_of, old, new)
    if chosen.explanation != before.explanation:
        _write_plan(plan, chosen)
    card = document.get("card")
    if isinstance(card, Table) and measured:
        _write_figures(card, measured)
    return tomlkit.dumps(document)


def measured_text(measured: Sequence[Measured]) -> str:
    """For the card: a table for each set of cases."""
    tables = [table(each.data, each.figures.items()) for each in measured]
    return "\n\n".join([INTERVALS, *tables])


def _targets(document: tomlkit.TOMLDocument) -> Iterator[Any]:
    """The tables of the targets, in the manifest's order; none of outputs without."""
    for kind in ("classification", "detection"):
        found = [each for each in document["outputs"] if each["kind"] == kind]
        if found:
            yield from found[0]["targets"]
            return


def _write_target(target: Any, old: Target, new: Target) -> None:
    for key in ("threshold", "temperature"):
        if getattr(old, key) != getattr(new, key):
            target[key] = getattr(new, key)
    if old.isotonic != new.isotonic:
        target.pop("isotonic", None)
        if new.isotonic:
            knots = tomlkit.array()
            knots.extend([list(knot) for knot in new.isotonic])
            target["isotonic"] = knots.multiline(True)
    if old.conformal != new.conformal:
        target.pop("conformal", None)
        if new.conformal is not None:
            target["conformal"] = _on_a_line(new.conformal.model_dump())


def _write_plan(plan: Table, chosen: ModelManifest) -> None:
    for key in ("layer", "depths", "verdict", "check"):
        plan.pop(key, None)
    said = chosen.explanation.model_dump(exclude_none=True, exclude_defaults=True)
    for key in OF_PLAN:
        if key in said:
            plan[key] = said[key]
    for name in ("verdict", "check"):
        part = getattr(chosen.explanation, name)
        if part is not None:
            plan[name] = _table(part.model_dump(exclude_none=True))


def _table(values: Mapping[str, Any]) -> Table:
    """Lists of tables an inline table a line."""
    made = tomlkit.table()
    for key, value in values.items():
        made[key] = _inline(value) if isinstance(value, list | tuple) else value
    made.add(tomlkit.nl())
    return made


def _inline(rows: Sequence[Mapping[str, Any]]) -> Array:
    lines = tomlkit.array()
    for row in rows:
        lines.append(_on_a_line(row))
    return lines.multiline(True)


def _on_a_line(values: Mapping[str, Any]) -> InlineTable:
    made = tomlkit.inline_table()
    made.update(values)
    return made


def _write_figures(card: Table, measured: Sequence[Measured]) -> None:
    """In place of those of the same name, of the same cases: packaging may come again."""
    if "performance" not in card:
        card.add(tomlkit.nl())
    rows: Any = card.setdefault("performance", tomlkit.aot())
    new = {(name, each.data): figure for each in measured for name, figure in each.figures.items()}
    kept = [row for row in rows if (row["name"], row["data"]) not in new]
    if isinstance(rows, AoT) and len(kept) < len(rows):
        card.pop("performance")
        rows = card.setdefault("performance", tomlkit.aot())
        for row in kept:
            rows.append(row)
    for (name, data), figure in new.items():
        rows.append(tomlkit.item({"name": name, "data": data, **_rounded(figure)}))


def _rounded(figure: Figure) -> Mapping[str, float]:
    return {name: round(value, 4) for name, value in asdict(figure).items()}
