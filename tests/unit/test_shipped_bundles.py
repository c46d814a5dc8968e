"""What ships is small, and README says of it what its cards say."""

import re
from pathlib import Path

import pytest

from dicom_node.catalog import CLASSICAL, WEIGHTS, BundleFolder, open_bundle, shipped_bundles

MODELS = [open_bundle(path) for path in shipped_bundles()]
TASKS = [
    open_bundle(manifest.parent)
    for manifest in sorted((MODELS[0].path.parent / "tasks").glob("*/manifest.toml"))
]
README = Path(__file__).parents[2] / "README.md"
FIGURE = re.compile(r"(\d\.\d+)(?:(?!\d\.\d)[^()|;])*\((\d(?:\.\d+)?) to (\d(?:\.\d+)?)\)")
"""A value with its interval: 0.91 (0.86 to 0.95), or 0.91 of them (0.86 to 0.95)."""
MOST_BYTES = 8e6


def row(name: str, column: int) -> str:
    """Of the table of README that has a bundle in this column."""
    rows = [line.split("|") for line in README.read_text("utf-8").splitlines()]
    (found,) = [cells for cells in rows if len(cells) > column and cells[column] == f" `{name}` "]
    return "|".join(found)


def figures(text: str) -> list[tuple[float, ...]]:
    return [tuple(map(float, found)) for found in FIGURE.findall(text)]


def measured(bundle: BundleFolder, digits: int) -> set[tuple[float, ...]]:
    """Values and intervals, rounded as a card rounds them."""
    rows = bundle.manifest.card.performance
    return {tuple(float(f"{n:.{digits}f}") for n in (r.value, r.low, r.high)) for r in rows}


@pytest.mark.parametrize("bundle", [*MODELS, *TASKS], ids=lambda bundle: bundle.manifest.name)
def test_the_weights_are_small(bundle: BundleFolder) -> None:
    (weights,) = (p for n in (WEIGHTS, CLASSICAL) if (p := bundle.path / n).exists())
    assert weights.stat().st_size <= MOST_BYTES


@pytest.mark.parametrize("bundle", MODELS, ids=lambda bundle: bundle.manifest.name)
def test_readme_has_the_figures_of_the_card_of_a_model(bundle: BundleFolder) -> None:
    said, true = row(bundle.manifest.name, 1), measured(bundle, 3)
    assert figures(said)
    assert set(figures(said)) <= true
    numbers = {float(number) for number in re.findall(r"\b\d\.\d{3}\b", said)}
    assert numbers <= {number for each in true for number in each}


@pytest.mark.parametrize("bundle", TASKS, ids=lambda bundle: bundle.manifest.name)
def test_readme_has_the_figure_of_the_card_of_a_small_bundle(bundle: BundleFolder) -> None:
    answer = bundle.manifest.card.performance[0]
    (said,) = figures(row(bundle.manifest.name, 4))
    assert said == tuple(float(f"{n:.2f}") for n in (answer.value, answer.low, answer.high))
