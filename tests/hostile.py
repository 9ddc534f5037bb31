"""Names as somebody writes them who wants to do harm where they are shown, and what must not be left of them."""

from __future__ import annotations

import re

NAMES = (
    "red\x1b[31m",  # colours the terminal from there on
    "title\x1b]0;owned\x07",  # sets the terminal's title
    "\x1b[2J\x1b[H",  # clears the screen
    "line\nattnexport: done",  # begins a line that is not ours
    "back\rattnexport: passed",  # covers the line
    "del\x7f\x08\x08\x08",
    "c1\x9b31m",  # the same sequences, in one character
    "\u202egnp.exe",  # is read backwards
    "zero\u2028width\ufeff",
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "{{7*7}}[[7*7]]{%if%}",  # templates
    "'; rm -rf ~; echo '",
    "$(reboot)`reboot`${HOME}",
    "a: [b\n- c",  # YAML
    '"} 1\nevil{x="',  # Prometheus's exposition
    "[bold red]markup[/]",  # rich's
    "$\\frac{1}$^_{",  # matplotlib's
    "%s%n%(name)s{0}{name}",
    "../../etc/passwd",
    "file",  # an argument of numpy.savez
    "ünï",
)  # fmt: skip

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def check_printed(text: str) -> None:
    """Fail if printing this text does more than show it, or if a line of it is not the program's own."""
    assert not (found := _CONTROL.findall(text)), f"{found!r} in {text!r}"
    for line in text.splitlines():
        assert not line.startswith(("attnexport: done", "attnexport: passed", "- c", "evil{")), line
