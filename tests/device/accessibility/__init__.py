"""axe-core, which finds what keeps people with disabilities from using a page; this folder pins its version."""

import functools
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Page

HERE = Path(__file__).parent
RUN = """async (left) => (await axe.run({ resultTypes: ["violations"], elementRef: true })).violations.flatMap(
  ({ id, nodes }) => nodes.filter(({ element }) => !(left[id] && element.closest(left[id])))
    .map(({ any, all, none, html }) => `${id}: ${[...any, ...all, ...none].map((one) => one.message)}: ${html}`))"""


@functools.cache
def _script() -> str:
    script = HERE / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("needs npm, for axe-core")
        done = subprocess.run([npm, "ci"], cwd=HERE, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"npm ci failed: {done.stderr.strip()[-300:]}")
    return script.read_text(encoding="utf-8")


def violations(page: Page, left: Mapping[str, str] | None = None) -> list[str]:
    """What axe-core finds wrong on the page as it is: the rule, why, and the element.

    left: by rule, a CSS selector of elements that are not ours, in and below which it is left out.
    """
    page.evaluate(_script())
    return page.evaluate(RUN, dict(left or {}))
