"""Text from files and servers, made safe to print: nothing in it moves the cursor, hides text or begins a line."""

from __future__ import annotations

import re
from typing import Any

# Control characters of ASCII and Latin-1, separators of lines, marks that change the direction of text, and halves of
# characters that cannot be encoded.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    r"""A text with what a terminal or a reader would not see as text written as escapes.

    Args:
        text: The text.
        keep: Characters to leave as they are.

    Example:
        >>> print(printable("red\x1b[31m, reversed\u202e\n"))
        red\x1b[31m, reversed\u202e\n
    """
    return _UNPRINTABLE.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def shell_word(text: str) -> str:
    r"""A word for a command line that is copied: control characters would be typed, quoted or not.

    Example:
        >>> print(shell_word("a b"), shell_word("a\x15b'"))
        'a b' $'a\u0015b\''
    """
    import shlex

    if printable(text) == text:
        return shlex.quote(text)
    escaped = text.replace("\\", r"\\").replace("'", r"\'")
    return "$'" + _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", escaped) + "'"


def printable_value(value: Any) -> Any:
    """A value as a template shows it: text made printable, markup and everything else as it is."""
    return printable(value) if type(value) is str else value


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
