"""Names in programs: a file from somebody else may call a tensor what ends a string or a comment."""

from __future__ import annotations

from collections.abc import Callable

from attnexport.core.printable import printable


def comment(text: str) -> str:
    r"""A text in one line that ends no comment.

    Example:
        >>> print(comment("a\nb*/ \x1b[2J"))
        a b* / \x1b[2J
    """
    return printable(" ".join(text.split())).replace("*/", "* /")


def python(text: str) -> str:
    """A string of Python."""
    return _quoted(text, lambda each: f"\\u{ord(each):04x}" if ord(each) < 0x10000 else f"\\U{ord(each):08x}")


def javascript(text: str) -> str:
    """A string of JavaScript."""
    return _quoted(text, _utf16)


def kotlin(text: str) -> str:
    """A string of Kotlin, where a dollar begins a template."""
    return _quoted(text, _utf16).replace("$", "\\$")


def swift(text: str) -> str:
    r"""A string of Swift, where `\(` would begin an expression: a backslash is always doubled."""
    return _quoted(text, lambda each: f"\\u{{{ord(each):x}}}")


def c(text: str) -> str:
    """A string of C: what is not plain ASCII as bytes of UTF-8 in octal, which end after three digits."""
    plain = {chr(code) for code in range(32, 127)} - {'"', "\\", "?"}
    parts = (each if each in plain else "".join(f"\\{byte:03o}" for byte in each.encode()) for each in text)
    return f'"{"".join(parts)}"'


def _quoted(text: str, escape: Callable[[str], str]) -> str:
    """In double quotes; what a reader would not see as text is escaped."""
    parts = (f"\\{each}" if each in '"\\' else each if each.isprintable() else escape(each) for each in text)
    return f'"{"".join(parts)}"'


def _utf16(character: str) -> str:
    data = character.encode("utf-16-be")
    return "".join(f"\\u{data[at : at + 2].hex()}" for at in range(0, len(data), 2))


QUOTED = {"python": python, "javascript": javascript, "kotlin": kotlin, "swift": swift, "c": c}
