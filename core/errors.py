"""Every error that attnexport raises on purpose, in one tree.

AttnexportError
├── ArgumentError       the arguments alone show it: a bad value, a name that clashes, a missing path
├── ContentError        something read or written is not usable
│   ├── ModelError      a model cannot be loaded, built or exported
│   ├── SamplesError    samples do not fit the signature they are for
│   ├── ManifestError   attnexport.json is damaged or of another schema
│   ├── StorageError    the file system refused
│   ├── ProcessError    a child process crashed, was killed or did not answer
│   └── CodecError      bytes that are no tensor, or an array that no tensor can hold
├── ParityError         the numbers differ more than their budget allows
├── GateError           an artifact is not what was asked for
└── ServingError        a server did not do what it was asked
    ├── UnavailableError  nobody answers at the address, or no longer
    ├── DeadlineError     no answer in time
    ├── NotFoundError     the server has no such model or version
    └── RefusedError      the server does not take the request as it is

Nothing here knows of exit codes, gRPC or HTTP: the edges translate, each in one place.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Self


class AttnexportError(Exception):
    """Base of all; its text is one line: what was wrong, where, and what would be right."""


class ArgumentError(AttnexportError, ValueError):
    """The arguments alone show that this cannot work."""


class ContentError(AttnexportError):
    """Something read or written is not usable."""


class ModelError(ContentError):
    """A model cannot be loaded, built or exported."""


class SamplesError(ContentError):
    """Samples do not fit the signature they are for."""


class ManifestError(ContentError):
    """The manifest is damaged, or of a schema that this version does not read."""


class StorageError(ContentError):
    """The file system refused to read or write."""


class ProcessError(ContentError):
    """A child process crashed, was killed or did not answer in time; the text says which, without the file's name."""


class CodecError(ContentError):
    """Bytes that are no tensor, or an array that no tensor can hold."""


class ParityError(AttnexportError):
    """The numbers differ more than their budget allows."""


class GateError(AttnexportError):
    """An artifact is not what was asked for, so it did not take its final name."""


class ServingError(AttnexportError):
    """A server did not do what it was asked.

    Attributes:
        address: Of the server, `HOST:PORT`.
        model: The model that was asked for, where one was.
        signature: The signature that was asked for, where one was.
        valid: What would have been right in the place of what was not: signatures, versions or inputs.
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

    def reworded(self, text: str, valid: Iterable[str] | None = None) -> Self:
        """The same failure in other words."""
        known = self.valid if valid is None else valid
        return type(self)(text, address=self.address, model=self.model, signature=self.signature, valid=known)


class UnavailableError(ServingError):
    """Nobody answers at the address, or no longer; another try may succeed."""


class DeadlineError(ServingError, TimeoutError):
    """No answer in time."""


class NotFoundError(ServingError):
    """The server has no such model or version."""


class RefusedError(ServingError):
    """The server does not take the request as it is; the same again would be refused again."""


def one_of(names: Iterable[str]) -> str:
    """The valid alternatives as words: "'a', 'b' or 'c'"."""
    quoted = [repr(name) for name in names]
    if len(quoted) < 2:
        return "".join(quoted) or "none"
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def no_such(what: str, name: str, names: Iterable[str]) -> str:
    """That a name is unknown, the one that was probably meant, and all there are."""
    known = list(names)
    meant = get_close_matches(name, known, n=1)
    guess = f"did you mean {meant[0]!r}? " if meant else ""
    return f"there is no {what} {name!r}; {guess}there is {one_of(known)}"


def check_size(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """The value itself where it is a whole number from `least` to `most`, else an ArgumentError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ArgumentError(f"{name} must be a whole number of at least {least}; received {value!r}")
    if most is not None and value > most:
        raise ArgumentError(f"{name} must be at most {most}; received {value!r}")
    return value


def first_line(error: BaseException, limit: int = 300) -> str:
    """The first line of what another library said, short enough for a message of ours."""
    text = str(error).strip()
    line = text.splitlines()[0].strip() if text else type(error).__name__
    return line if len(line) <= limit else line[: limit - 1] + "…"
