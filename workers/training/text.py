"""What every recipe writes of a bundle: figures, what was measured of its maps, and its card."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from itertools import groupby
from string import Template
from typing import Any

import tomlkit
from pydantic import BaseModel

from dicom_node.domain.card import Learnt, Performance
from dicom_node.domain.manifest import ExplanationPlan, ModelManifest
from dicom_node.domain.trust import ExplanationCheck, VerdictPlan
from workers.training.measures import Figure

FIGURE = Template("""
[[card.performance]]
name = $name
value = $value
low = $low
high = $high
cases = $cases
data = $data
$subgroup""")


def parse(manifest: str) -> ModelManifest:
    """The manifest that a text describes."""
    return ModelManifest.model_validate(tomllib.loads(manifest))


def performance_text(figures: Mapping[str, Figure], data: str, subgroup: str = "") -> str:
    """The tables ``card.performance``, of figures that were measured on ``data``."""
    return "".join(_figure(name, figure, data, subgroup) for name, figure in figures.items())


def with_learnt(manifest: str, rows: Iterable[Learnt]) -> str:
    """The text of a manifest whose card says what the model is made of; the rest stays.

    In place of what it said of the same data and use.
    """
    document, new = tomlkit.parse(manifest), list(rows)
    card: Any = document["card"]
    kept = [
        row
        for row in parse(manifest).card.learnt
        if not any((row.data, row.use) == (other.data, other.use) for other in new)
    ]
    card.pop("learnt", None)
    written = tomlkit.aot()
    for row in (*kept, *new):
        written.append(tomlkit.item(row.model_dump(exclude_defaults=True)))
    card["learnt"] = written
    return tomlkit.dumps(document)


def opening(manifest: ModelManifest) -> list[str]:
    """How the text of every card begins: up to what the model was trained on."""
    card = manifest.card
    return [
        f"# {manifest.title} ({manifest.id})",
        "## Intended use",
        f"**For:** {card.intended_use}",
        f"**Not for:** {card.not_for}",
        "## Training data",
        card.training_data,
    ]


def card_text(manifest: ModelManifest, intervals: str, decision: str) -> str:
    """The text of ``card.md``: the manifest's card, for people."""
    card = manifest.card
    tables = groupby(card.performance, lambda figure: figure.data)
    lines = [
        *opening(manifest),
        *([card.citation] if card.citation else []),
        "## Performance",
        f"95 % intervals: {intervals}.",
        *(table(data, ((f.title, f) for f in figures)) for data, figures in tables),
        "## How it decides",
        decision,
        "## Limits",
        "\n".join(f"- {limit}" for limit in card.limits),
    ]
    return "\n\n".join(lines) + "\n"


def method_text(plan: ExplanationPlan) -> str:
    """The lines of ``explanation`` that say how a map is made."""
    lines = [f'method = "{plan.method}"']
    if plan.layer is not None:
        lines.append(f'layer = "{plan.layer}"')
    if plan.depths > 1:
        lines.append(f"depths = {plan.depths}")
    return "\n".join(lines)


def check_text(check: ExplanationCheck | None, measured_on: str) -> str:
    """The table ``explanation.check``; nothing for none."""
    if check is None:
        return ""
    values = "".join(
        f"{name} = {value}\n" for name, value in check.model_dump(exclude_none=True).items()
    )
    return f"\n[explanation.check] # {measured_on}\n{values}"


def verdict_text(plan: VerdictPlan | None, fitted_on: str) -> str:
    """The table ``explanation.verdict``; nothing for none."""
    if plan is None:
        return ""
    numbers = "".join(f"  {inline(number)},\n" for number in plan.numbers)
    return (
        f"\n[explanation.verdict] # {fitted_on}\n"
        f"bias = {plan.bias}\nreliable = {plan.reliable}\nnot_reliable = {plan.not_reliable}\n"
        f"numbers = [\n{numbers}]\n"
    )


def inline(part: BaseModel) -> str:
    """An inline table of TOML."""
    pairs = (f"{name} = {json.dumps(value)}" for name, value in part.model_dump().items())
    return f"{{ {', '.join(pairs)} }}"


def table(data: str, rows: Iterable[tuple[str, Figure | Performance]]) -> str:
    """A table of figures in a card, by name; ``data`` is what they were measured on."""
    lines = [
        f"| {name} | {f.value:.3f} | {f.low:.3f} to {f.high:.3f} | {f.cases} |" for name, f in rows
    ]
    head = ["| figure | value | interval | cases |", "| --- | --- | --- | --- |"]
    return "\n".join([f"Measured on {data}:", "", *head, *lines])


def _figure(name: str, figure: Figure, data: str, subgroup: str) -> str:
    return FIGURE.substitute(
        name=json.dumps(name),
        value=round(figure.value, 4) + 0.0,
        low=round(figure.low, 4) + 0.0,
        high=round(figure.high, 4) + 0.0,
        cases=figure.cases,
        data=json.dumps(data),
        subgroup=f"subgroup = {json.dumps(subgroup)}\n" if subgroup else "",
    )
