"""The words of a recipe's bundle: its manifest, filled with what was measured, and its card."""

from collections.abc import Mapping
from string import Template

from dicom_node.domain.manifest import ExplanationPlan, Resources
from workers.training.measures import Figure
from workers.training.phantom_text import CHECKED, FITTED
from workers.training.text import (
    check_text,
    method_text,
    opening,
    parse,
    performance_text,
    verdict_text,
)

DATA = "phantoms with seeds that training never used"


def filled(
    manifest: str,
    plan: ExplanationPlan,
    resources: Resources,
    figures: Mapping[str, Figure] | None = None,
    training_data: str = "Phantoms.",
) -> str:
    """A manifest's text with what was chosen and measured."""
    return Template(manifest).substitute(
        method=method_text(plan),
        full_scale=plan.full_scale,
        trust=check_text(plan.check, CHECKED) + verdict_text(plan.verdict, FITTED),
        memory_gib=resources.memory_gib,
        seconds=resources.seconds,
        performance=performance_text(figures or {}, DATA),
        training_data=training_data,
    )


def card_text(manifest: str) -> str:
    """The manifest's card, for people."""
    said = parse(manifest)
    rows = [
        f"- {f.name}: {f.value:.3f} ({f.low:.3f} to {f.high:.3f}), {f.cases} {f.data}"
        for f in said.card.performance
    ]
    parts = [
        *opening(said),
        "## Performance",
        "\n".join(rows) or "Not measured.",
        "## Limits",
        "\n".join(f"- {limit}" for limit in said.card.limits),
    ]
    return "\n\n".join(parts) + "\n"
