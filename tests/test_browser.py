"""The browser that pages are judged by sees what is wrong with one."""

from __future__ import annotations

from pathlib import Path

from tests.browser import Browser

PAGE = """<!doctype html><meta charset=utf-8><link rel=icon href="data:,">
<img src="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='30' height='20'/%3E"><img src="gone.png">
<p style="width: 500px">wide</p><div style="overflow-x: auto"><p style="width: 2000px">scrolls by itself</p></div>
<script>console.error("said", 7); console.log("fine"); missing();</script>"""


def test_errors_overflow_and_images_of_a_page(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(PAGE)
    with Browser(tmp_path / "profile") as browser:
        narrow, wide = (browser.open(tmp_path / "page.html", width) for width in (390, 1440))
        assert (narrow.width, wide.width, wide.scroll_width) == (390, 1440, 1440)
        assert narrow.scroll_width > 500
        assert (narrow.overflowing, wide.overflowing) == (["p: wide"], [])
        assert wide.images == [(30, 20), (0, 0)]
        for word in ("said 7", "missing is not defined", "gone.png"):
            assert any(word in error for error in wide.errors), wide.errors
        assert len(wide.errors) == 3
        wide.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").read_bytes()[:4] == b"\x89PNG"
