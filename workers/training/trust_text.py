"""What was measured of a bundle's maps, as the manifest says it."""

import json

from pydantic import BaseModel

from dicom_node.domain.trust import ExplanationCheck, VerdictPlan


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
