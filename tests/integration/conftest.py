"""What the tests of single tasks share."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import validators
from task_results import Outcome
from task_results import analysed as analyse


@pytest.fixture
def analysed(tmp_path: Path) -> Callable[..., Outcome]:
    """A bundle's name and a study -> what came of it."""
    return partial(analyse, folder=tmp_path)


@pytest.fixture
def valid(tool: Callable[[str], str]) -> Callable[[Outcome], None]:
    """Asserts that dciodvfy finds nothing wrong."""

    def check(results: Outcome) -> None:
        tool("dciodvfy")
        found = {path.name: validators.dciodvfy(path) for path in results.paths}
        assert {name: errors for name, errors in found.items() if errors} == {}

    return check
