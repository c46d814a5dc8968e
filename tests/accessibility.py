"""axe-core in Chromium: what keeps people from reading a page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from browser import Browser
from npm import installed

AXE = Path(__file__).parent / "axe"
SERIOUS = {"serious", "critical"}
RUN = "axe.run({resultTypes: ['violations']}).then(r => { window.verdict = r.violations })"


def axe_source(tool: Callable[[str], str]) -> str:
    """The script."""
    return (installed(AXE, "axe-core", tool) / "axe.min.js").read_text("utf-8")


def barriers(browser: Browser, source: str, *, only_serious: bool = True) -> list[str]:
    """Rules that the open page breaks, each with the elements that do."""
    browser.evaluate(source + ";0")
    browser.evaluate(RUN + ";0")
    browser.wait_for("!!window.verdict", timeout_s=60)
    found: list[dict[str, Any]] = json.loads(browser.evaluate("JSON.stringify(window.verdict)"))
    wanted = [v for v in found if v["impact"] in SERIOUS or not only_serious]
    return [f"{v['id']}: {[node['html'][:120] for node in v['nodes']]}" for v in wanted]
