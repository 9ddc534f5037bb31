"""The report: one file that needs nothing else, shows what failed first, and is legible on a phone."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from attnexport.parity import Validation
from attnexport.parity.report import Report, WorstSample, render
from attnexport.parity.report.trade_off import trade_offs
from tests.browser import Browser
from tests.hostile import NAMES

pytestmark = pytest.mark.slow

KINDS = ("passed", "failed", "bare")
VOID = {"meta", "link", "img", "br", "hr", "input"}


@pytest.fixture(scope="module")
def pages(reports: dict[str, Report]) -> dict[str, str]:
    return {kind: render(report) for kind, report in reports.items()}


class Outline(HTMLParser):
    """Headings, pictures and tables of a page, which must be well nested; ids must be unique."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.pictures: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "img":
            self.pictures.append(found)
        self.links += [found[name] or "" for name in ("href", "src", "action") if name in found]
        self.ids += [found["id"] or ""] if "id" in found else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_whole_and_fetches_nothing(pages: dict[str, str], kind: str) -> None:
    outline = Outline(pages[kind])
    assert outline.open == []
    assert len(set(outline.ids)) == len(outline.ids)
    for link in outline.links:
        assert link.startswith("data:") or link.removeprefix("#") in outline.ids, link
    assert re.findall("<script[^>]*>", pages[kind]) == ["<script>"], "one, in the page itself"
    assert "url(" not in pages[kind]
    assert outline.headings[0] == 1
    assert outline.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(outline.headings, outline.headings[1:], strict=False))
    assert all(len(picture["alt"] or "") > 20 for picture in outline.pictures), "each has words that stand for it"


def test_the_verdict_comes_first_and_failures_before_all_that_passed(pages: dict[str, str]) -> None:
    text = pages["failed"]
    words = ("✗ Failed", "6 of 12 checks failed", 'id="failures"', "SQNR 11.2 dB (25 dB needed)", 'id="verdicts"')
    places = [text.index(each) for each in words]
    assert places == sorted(places)
    rows = re.findall(r'<td><span class="verdict (\w+)">', text)
    assert rows == ["failed"] * 4 + ["passed"] * 2
    sections = re.findall(r"<h3>(.*?)</h3> <span class=\"verdict (\w+)\">", text)
    assert sections == [("int8", "failed"), ("int16x8", "failed"), ("float32", "passed")]
    assert "✓ Passed" in pages["passed"]
    assert 'id="failures"' not in pages["passed"]


def test_what_others_wrote_is_no_markup(pages: dict[str, str]) -> None:
    assert "&lt;b&gt;read&lt;/b&gt; me" in pages["failed"]


def test_hostile_names_are_text_in_words_and_pictures(reports: dict[str, Report]) -> None:
    name = "".join(NAMES)
    report = reports["failed"]
    text = render(
        replace(
            report,
            name=name,
            notes=NAMES,
            candidates=tuple(
                replace(each, name=hostile) for each, hostile in zip(report.candidates, NAMES, strict=False)
            ),
            worst=tuple(replace(each, output=name, signature=name) for each in report.worst),
            layers=tuple(replace(each, layer=name) for each in report.layers),
            maps=tuple(replace(each, layer=name) for each in report.maps),
            environment={name: name},
        )
    )
    outline = Outline(text)
    assert outline.open == []
    scripts = re.findall("<script.*?</script>", text, re.DOTALL)
    assert scripts == re.findall("<script.*?</script>", render(report), re.DOTALL)  # the page's own, without a name
    assert len(scripts) == 1
    for picture in outline.pictures:
        svg = base64.b64decode((picture["src"] or "").partition("base64,")[2])
        ElementTree.fromstring(svg)


def test_it_is_the_same_each_time(reports: dict[str, Report], pages: dict[str, str]) -> None:
    assert render(reports["bare"]) == pages["bare"]


def test_what_there_is_nothing_of_is_left_out(reports: dict[str, Report], pages: dict[str, str]) -> None:
    for heading in ("trade-off", "searched", "attention"):
        assert f'id="{heading}"' in pages["passed"]
        assert f'id="{heading}"' not in pages["bare"]
    empty = replace(reports["bare"], validation=Validation("Keras", ()))
    assert "All 0 checks passed" in render(empty)


def test_hundreds_of_failures_are_counted(reports: dict[str, Report]) -> None:
    failed = reports["failed"]
    many = replace(
        failed, candidates=(), worst=(), maps=(), validation=Validation("Keras", failed.validation.checks * 20)
    )
    text = render(many)
    assert "120 of 240 checks failed" in text
    assert "and 70 more, which <code>--json</code> lists" in text


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        ({"tokens": np.arange(20)}, np.linspace(0, 1, 3)),
        ({"words": np.array([b"a", b"b"])}, np.zeros((4, 9, 9))),
        ({"x": np.float32(3)}, np.array(1.5)),
        ({"image": np.zeros((5, 4, 3))}, np.array([np.nan, np.inf, 1.0])),
        ({"long": np.zeros((200, 2))}, np.zeros((0, 3))),
    ],
    ids=["tokens", "strings", "scalars", "not finite", "empty"],
)
def test_any_worst_sample_can_be_drawn(reports: dict[str, Report], inputs: Any, output: Any) -> None:
    report = reports["passed"]
    path = report.entry.artifacts[-1].path
    off = np.asarray(output) + 0.5
    worst = WorstSample(path, "interpreter", "serving_default", "y", 1, inputs, np.asarray(output), off, 0.5, ())
    text = render(replace(report, worst=(worst,), candidates=(), maps=(), layers=()))
    assert text.count("<figcaption>The worst sample, number 1 (") == 1


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium") / "profile") as running:
        yield running


@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_a_phone_and_a_desk(browser: Browser, pages: dict[str, str], tmp_path: Path, width: int) -> None:
    from matplotlib.image import imread

    for kind, text in pages.items():
        (tmp_path / "report.html").write_text(text)
        page = browser.open(tmp_path / "report.html", width)
        assert page.errors == []
        assert page.overflowing == []
        assert page.scroll_width == width
        assert len(page.images) == text.count("<img ")
        assert all(min(size) > 50 for size in page.images), kind
        page.screenshot(tmp_path / "report.png")
        shown = imread(tmp_path / "report.png")
        boxes = page.evaluate(
            "[...document.images].map((each) => each.getBoundingClientRect()).map((b) => [b.x, b.y, b.width, b.height])"
        )
        for x, y, wide, high in boxes:
            inside = shown[int(y) : int(y + high), int(x) : int(x + wide)].reshape(-1, shown.shape[-1])
            assert inside.std(axis=0).max() > 0.02, f"a picture of {kind} is blank"


def test_a_search_is_folded_classes_have_names_and_versions_stand_beside_each_other(pages: dict[str, str]) -> None:
    text = pages["passed"]
    assert "<details><summary>All 15 candidates</summary>" in text
    assert "<details><summary>All" not in text[: text.index('id="searched"')], "the artifacts' own table is open"
    assert '<tr class="chosen">' in pages["failed"]
    assert "&lt;b&gt;zero" in text
    assert 'title="2 of class &lt;b&gt;zero given one"' in text
    for words in ("Beside version 1", "40.0 dB → 42.3 dB", "33 kB → 31 kB", "19 kB → gone"):
        assert words in text


@pytest.mark.parametrize("searched", [False, True])
def test_each_mark_has_its_figures_under_the_pointer(
    reports: dict[str, Report], pages: dict[str, str], searched: bool
) -> None:
    candidates = reports["passed"].searched if searched else reports["passed"].candidates
    for drawn in trade_offs(candidates):
        svg = ElementTree.fromstring(drawn.svg)
        _, _, width, height = map(float, svg.attrib["viewBox"].split())
        marks = [each.attrib for each in svg.iter("{http://www.w3.org/2000/svg}use")]
        assert [text.partition(":")[0] for _, _, text in drawn.points] == [each.name for each in candidates]
        for left, top, text in drawn.points:
            x, y = left * width / 100, top * height / 100
            apart = min(np.hypot(float(each["x"]) - x, float(each["y"]) - y) for each in marks)
            assert apart < 2, f"{text} is not where its mark is"  # in points; a mark has 7
            assert f'<i style="left: {left}%; top: {top}%" title="{escape(text)}"></i>' in pages["passed"]


def test_columns_sort_by_number_and_back(pages: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(pages["passed"])
    with Browser(tmp_path / "profile") as browser:
        page = browser.open(tmp_path / "report.html", 1440)
        column = """[...document.querySelectorAll('#searched ~ details tbody tr')].map(
            (row) => parseFloat(row.cells[2].textContent))"""
        click = "document.querySelectorAll('#searched ~ details th')[2].click()"
        page.evaluate(click)
        sizes = page.evaluate(column)
        assert sizes == sorted(sizes)
        page.evaluate(click)
        assert page.evaluate(column) == sorted(sizes, reverse=True)
        assert page.errors == []


def test_artifacts_stand_beside_those_of_another_version(reports: dict[str, Report]) -> None:
    from attnexport.store.records import CheckRecord, ValidationRecord
    from attnexport.workflows.report_details import changes

    report = reports["passed"]
    check = CheckRecord("session", "serving_default", True, 30.0, 0.5, 0.9, None, None)
    record = ValidationRecord("2026-01-01T00:00:00+00:00", "0.1.0", "Keras", {}, {}, (check,))
    kept = [replace(each, size_bytes=7, validation=record) for each in report.entry.artifacts[:2]]
    other = replace(report.entry, version=1, artifacts=tuple(kept))
    rows = {each.name: each for each in changes(report.entry, other, report.validation)}
    before = rows[kept[1].title]
    assert before.before == (7, 30.0, 0.9, None)
    assert before.after[0] == report.entry.artifacts[1].size_bytes
    absent = rows[report.entry.artifacts[-1].title]
    assert absent.before == (None,) * 4
