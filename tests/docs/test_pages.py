"""Every command and Python block of README.md and docs/ works as it stands, and prints what the page shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser

pytestmark = pytest.mark.slow

_SEARCH = """new Promise((done) => {
    const box = document.querySelector("input.md-search__input");
    box.focus();
    box.value = "calibration";
    box.dispatchEvent(new KeyboardEvent("keyup", { bubbles: true }));
    box.dispatchEvent(new Event("input", { bubbles: true }));
    const look = (times) => document.querySelectorAll(".md-search-result__item").length || !times
        ? done(document.querySelector(".md-search-result__meta").textContent)
        : setTimeout(() => look(times - 1), 100);
    look(300);
})"""

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if re.search(r"^```(console|python)", path.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("name", PAGES)
def test_the_page_works_as_it_stands(page: Callable[[str], Any], name: str) -> None:
    assert page(name).run((ROOT / name).read_text()) > 0


def test_a_page_that_does_not_work_is_told(page: Callable[[str], Any]) -> None:
    running = page("made up")
    with pytest.raises(AssertionError):
        running.run("```console\n$ attnexport status\n```\n")
    with pytest.raises(AssertionError):
        running.run("```console\n$ attnexport --version\nattnexport two\n```\n")
    with pytest.raises(ZeroDivisionError):
        running.run("```python\n1 / 0\n```\n")
    assert running.run('```text title="a"\nx $PWD\n```\n```console\n$ cat a\nx $PWD\n```\n') == 1


def test_the_site_is_built_with_every_link_and_anchor_right(tmp_path: Path) -> None:
    import subprocess
    import sys

    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        words,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"NO_MKDOCS_2_WARNING": "1", "PATH": "/usr/bin"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    written = (tmp_path / "site" / "index.html").read_text()
    fetched = re.findall(r'(?:src|<link[^>]* href)="(https?://[^"]+)"', written)
    assert fetched == [], "a page is complete by itself"
    commands = (tmp_path / "site" / "reference" / "command-line.html").read_text()
    python = (tmp_path / "site" / "reference" / "python" / "exporter.html").read_text()
    assert "UNSET" not in commands
    assert 'id="attnexport-deploy"' in commands or "attnexport deploy" in commands
    assert 'id="attnexport.exporter.open_model"' in python
    with Browser(tmp_path / "profile") as browser:  # from disk, where browsers start no worker
        page = browser.open(tmp_path / "site" / "index.html", 1440)
        found = page.evaluate(_SEARCH)
        assert page.errors == []
    assert "matching documents" in found


def validated(schema: str, document: object) -> None:
    import json

    import jsonschema

    jsonschema.validate(document, json.loads((ROOT / "docs" / "schemas" / f"{schema}.schema.json").read_text()))


def test_what_is_written_fits_the_documented_schemas(
    attnexport: Callable[..., tuple[int, str, str]], shared_export: Path, tmp_path: Path
) -> None:
    import json

    import jsonschema

    manifest = json.loads((shared_export / "attnexport.json").read_text())
    validated("manifest", manifest)
    with pytest.raises(jsonschema.ValidationError):
        validated("manifest", {**manifest, "schema": 2})
    attnexport("deploy", shared_export, "--target", "docker", "--output", tmp_path / "out")
    validated("deploy", json.loads((tmp_path / "out" / "deploy.json").read_text()))
    _, out, _ = attnexport("--json", "deploy", shared_export, "--target", "docker", "--output", tmp_path)
    validated("error", json.loads(out))
