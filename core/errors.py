"""Every error that attnexport raises on purpose, in one tree.

AttnexportError
├── ArgumentError       the arguments alone show it: a bad value, a name that clashes, a missing path
├── ContentError        something read or written is not usable
│   ├── ModelError      a model cannot be loaded, built or exported
│   ├── SamplesError    samples do not fit the signature they are for
│   ├── ManifestError   attnexport.json is not valid, or of another schema
│   ├── StorageError    the file system refused
│   ├── ProcessError    a child process crashed, was killed or did not answer
│   └── CodecError      bytes that are not a tensor, or an array that a tensor cannot hold
├── ParityError         the numbers differ more than their budget allows
├── GateError           an artifact is not what was requested
└── ServingError        a server did not do what was requested
    ├── UnavailableError  nothing answers at the address, or it stopped
    ├── DeadlineError     no answer in time
    ├── NotFoundError     the server has no such model or version
    └── RefusedError      the server refuses the request

Nothing here knows of exit codes, gRPC or HTTP: the edges translate, each in one place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, Self

from .wording import worded

_CODES = re.compile(r"\x1b\[\d*m")  # of terminals, for bold
_INNER = "Exception encountered: "
_MOST_NAMED = 50  # alternatives in a message
_MOST_COMPARED = 200  # names, and characters of one, that are looked at for one that is similar


class AttnexportError(Exception):
    """Base of all errors. The text is one line: what was wrong, where, and what would be right."""

    def __str__(self) -> str:
        return worded(super().__str__())


class ArgumentError(AttnexportError, ValueError):
    """The arguments alone show that this cannot work."""


class ContentError(AttnexportError):
    """Something read or written is not usable."""


class ModelError(ContentError):
    """A model cannot be loaded, built or exported."""


class SamplesError(ContentError):
    """Samples do not fit the signature they are for."""


class ManifestError(ContentError):
    """The manifest is not valid, or of a schema that this version does not read."""


class StorageError(ContentError):
    """The file system refused to read or write."""


class ProcessError(ContentError):
    """A child process crashed, was killed or did not answer in time; the text says which, without the file's name."""


class CodecError(ContentError):
    """Bytes that are not a tensor, or an array that a tensor cannot hold."""


class ParityError(AttnexportError):
    """The numbers differ more than their budget allows."""


class GateError(AttnexportError):
    """An artifact is not what was requested, so it did not take its final name."""


class ServingError(AttnexportError):
    """A server did not do what was requested.

    Attributes:
        address: Address of the server, `HOST:PORT`.
        model: The requested model, if any.
        signature: The requested signature, if any.
        valid: The valid signatures, versions or inputs, if the requested one does not exist.
    """

    def __init__(
        self,
        text: str,
        *,
        address: str | None = None,
        model: str | None = None,
        signature: str | None = None,
        valid: Iterable[str] = (),
    ) -> None:
        super().__init__(text)
        self.address, self.model, self.signature, self.valid = address, model, signature, tuple(valid)

    def __str__(self) -> str:
        return worded(Exception.__str__(self), flags=False)

    def reworded(self, text: str, valid: Iterable[str] | None = None) -> Self:
        """The same failure in other words."""
        known = self.valid if valid is None else valid
        return type(self)(text, address=self.address, model=self.model, signature=self.signature, valid=known)


class UnavailableError(ServingError):
    """Nothing answers at the address, or it stopped; another try may succeed."""


class DeadlineError(ServingError, TimeoutError):
    """No answer in time."""


class NotFoundError(ServingError):
    """The server has no such model or version."""


class RefusedError(ServingError):
    """The server refuses the request, and would refuse it again."""


def one_of(names: Iterable[str]) -> str:
    """List the valid alternatives.

    Example:
        >>> one_of(["predict", "classify", "regress"])
        "'predict', 'classify' or 'regress'"
    """
    each = iter(names)
    quoted = [repr(name) for name in islice(each, _MOST_NAMED)]
    if more := sum(1 for _ in each):
        return f"{', '.join(quoted)} or one of {more:,} more"
    if len(quoted) < 2:
        return "".join(quoted) or "none"
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def no_such(what: str, name: str, names: Iterable[str]) -> str:
    """Say that a name is unknown, with the most similar one and all valid ones.

    Example:
        >>> no_such("recipe", "int7", ["int8", "float16"])
        "there is no recipe 'int7'; did you mean 'int8'? there is 'int8' or 'float16'"
        >>> no_such("model", "digit", ["digits"])
        "there is no model 'digit'; did you mean 'digits'?"
    """
    known = list(names)
    similar = get_close_matches(name[:_MOST_COMPARED], known[:_MOST_COMPARED], n=1) or [
        each for each in known if each[:4] == name[:4]
    ]
    unknown = f"there is no {what} {name!r}"
    if not similar:
        return f"{unknown}; there is {one_of(known)}"
    guess = f"{unknown}; did you mean {similar[0]!r}?"
    return guess if len(known) == 1 else f"{guess} there is {one_of(known)}"


def check_size(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Check that a value is a whole number in a range.

    Args:
        name: How the message calls it.
        value: The value.
        least: The smallest valid value.
        most: The largest valid value; None for no limit.

    Returns:
        The value.

    Raises:
        ArgumentError: if it is not.

    Example:
        >>> check_size("batch", 8)
        8
        >>> check_size("batch", 0)
        Traceback (most recent call last):
        attnexport.core.errors.ArgumentError: batch must be a whole number of at least 1; received 0
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ArgumentError(f"{name} must be a whole number of at least {least}; received {value!r}")
    if most is not None and value > most:
        raise ArgumentError(f"{name} must be at most {most}; received {value!r}")
    return value


def check_path(name: str, value: Any) -> Path:
    """Check that a value is a path.

    Args:
        name: How the message calls it.
        value: The value.

    Returns:
        The path.

    Raises:
        ArgumentError: if it is not.

    Example:
        >>> check_path("export", "export/classifier").name
        'classifier'
        >>> check_path("export", 5)
        Traceback (most recent call last):
        attnexport.core.errors.ArgumentError: export must be a path; received int
    """
    if not isinstance(value, str | os.PathLike):
        raise ArgumentError(f"{name} must be a path; received {type(value).__name__}")
    return Path(value)


def first_line(error: BaseException, limit: int = 300) -> str:
    r"""What another library's error says: its first line, shortened to `limit` characters.

    A first line that only announces what follows is joined with it, and what Keras wraps in "Exception encountered" is
    taken out of it.

    Example:
        >>> first_line(TypeError("Not deserialized.\n\nconfig={…}.\n\nException encountered: no argument 'units'"))
        "no argument 'units'"
        >>> first_line(ValueError("See the information below:\n\tname = table\n"))
        'See the information below: name = table'
    """
    text = _CODES.sub("", str(error)).strip()
    if (inner := text.rpartition(_INNER)[2].strip()) != text and inner:
        text = inner
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    count = next((number for number, line in enumerate(lines, 1) if not line.endswith(":")), len(lines))
    line = " ".join(lines[:count])
    return line if len(line) <= limit else line[: limit - 1] + "…"
