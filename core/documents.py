"""JSON documents from disk, checked against dataclasses before anything uses them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from .errors import ContentError, StorageError, first_line, one_of
from .reading import read_bytes

MAX_BYTES = 16 << 20  # of a document; manifests of a hundred versions have about 1 MB

_Kind = TypeVar("_Kind")

_BOM = b"\xef\xbb\xbf"  # Windows editors begin UTF-8 with it
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_MISFIT = re.compile(r"Expected `([a-z |]+)`(.*), got `([a-z]+)`")
_CHOICE = re.compile(r"Invalid enum value (.+)")
_FAILURE = re.compile(r"(.*) - at `(?:\$|key in \$)(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.+)`")


def read_json(path: Path, error: type[ContentError] = ContentError) -> Any:
    """Read the values of a JSON file: at most `MAX_BYTES` of a regular file, no NaN or infinity.

    Args:
        path: The file, UTF-8.
        error: What is raised if it is not JSON.

    Raises:
        FileNotFoundError: if there is no such file.
        StorageError: if it cannot be read.
        ContentError: if it is not a regular file, too large, or not JSON.
    """
    try:
        content = read_bytes(path, MAX_BYTES)
    except FileNotFoundError:
        raise
    except OSError as failure:
        raise StorageError(f"cannot read {path}: {failure.strerror}") from failure
    except ContentError as failure:
        raise error(str(failure)) from failure
    return parse_json(content, str(path), error)


def parse_json(content: bytes, where: str, error: type[ContentError] = ContentError) -> Any:
    """The values of a JSON text.

    Raises:
        ContentError: naming `where` and the place in the text, if it is not JSON, or nested too deeply.
    """
    import msgspec

    content = content.removeprefix(_BOM)
    try:
        return msgspec.json.decode(content)
    except RecursionError as failure:
        raise error(f"{where} is nested too deeply") from failure
    except ValueError as failure:
        raise error(f"{where} is not valid JSON: {_syntax_error(content, failure)}") from failure


def convert(
    document: Any, kind: type[_Kind], where: str, error: type[ContentError] = ContentError, *, at: str = ""
) -> _Kind:
    """A dataclass from its JSON object, with every type checked and no field unknown.

    Args:
        document: The values, as `read_json` gives them.
        kind: The dataclass, or a list or tuple of it. Its `__post_init__` may refuse values by a ValueError.
        where: What messages call the document.
        error: What is raised if it does not fit.
        at: The path of these values in the document.

    Raises:
        ContentError: naming `where`, the field (a path into the document) and what is expected there.

    Example:
        >>> from attnexport.core.signature import TensorSpec
        >>> convert({"name": "x", "dtype": "float32", "shape": [None, 3]}, TensorSpec, "spec.json")
        TensorSpec(name='x', dtype='float32', shape=(None, 3))
        >>> convert({"name": 1, "dtype": "float32", "shape": None}, TensorSpec, "x.json")
        Traceback (most recent call last):
        attnexport.core.errors.ContentError: x.json is not valid at name: a string is expected; received a whole number
    """
    import msgspec

    made = check(document, kind, where, error, at=at)
    try:
        taken = msgspec.to_builtins(made)
    except RecursionError as failure:
        raise error(f"{where} is nested too deeply") from failure
    if (path := _first_unknown(document, taken, at)) is not None:
        parent, _, key = path.rpartition(".")
        place = f" at {parent}" if parent else ""
        raise error(f"{where} is not valid{place}: it holds {key!r}, which this attnexport does not know")
    return made


def check(
    document: Any, kind: type[_Kind], where: str, error: type[ContentError] = ContentError, *, at: str = ""
) -> _Kind:
    """As `convert`, with unknown fields left out instead of refused.

    Args:
        document: The values, as `read_json` gives them.
        kind: A dataclass or a TypedDict.
        where: What messages call the document.
        error: What is raised if it does not fit.
        at: The path of these values in the document.

    Raises:
        ContentError: naming `where`, the field and what is expected there.
    """
    import msgspec

    try:
        made: _Kind = msgspec.convert(document, kind)
    except RecursionError as failure:
        raise error(f"{where} is nested too deeply") from failure
    except msgspec.ValidationError as failure:
        match = _FAILURE.fullmatch(str(failure))
        text, inner = (match[1], match[2]) if match else (str(failure), "")
        path = f"{at}{inner}".removeprefix(".")
        place = f" at {path}" if path else ""
        raise error(f"{where} is not valid{place}: {_in_words(text, kind, inner)}") from failure
    return made


def _in_words(text: str, kind: Any, path: str) -> str:
    if match := _MISFIT.fullmatch(text):
        expected = " or ".join(_TYPES.get(each.strip(), each.strip()) for each in match[1].split("|"))
        return f"{expected}{match[2]} is expected; received {_TYPES.get(match[3], match[3])}"
    if match := _MISSING.fullmatch(text):
        return f"the field {match[1]!r} is missing"
    if match := _CHOICE.fullmatch(text):
        return f"{one_of(map(str, _choices_at(kind, path)))} is expected; received {match[1]}"
    return text.replace("`", "")


def _choices_at(kind: Any, path: str) -> tuple[Any, ...]:
    """The values of the Literal at a path below a dataclass."""
    for name in re.findall(r"\.(\w+)", path):
        kind = _innermost(get_type_hints(kind)[name])
    return get_args(kind)


def _innermost(hint: Any) -> Any:
    """The dataclass or the Literal that lists, mappings and optional values of it hold."""
    while get_origin(hint) not in (None, Literal):
        hint = next(each for each in reversed(get_args(hint)) if each not in (type(None), Ellipsis))
    return hint


def _first_unknown(given: Any, known: Any, path: str = "") -> str | None:
    """The path of the first key that the dataclasses did not take."""
    pending = [(path, True, given, known)]  # not by recursion, as values may be nested as deeply as they like
    while pending:
        place, is_known, inner, its = pending.pop()
        if not is_known:
            return place
        pairs = []
        if isinstance(inner, dict) and isinstance(its, dict):
            pairs = [
                (f"{place}.{key}" if place else str(key), key in its, each, its.get(key)) for key, each in inner.items()
            ]
        elif isinstance(inner, list) and isinstance(its, list | tuple):
            pairs = [(f"{place}[{at}]", True, *each) for at, each in enumerate(zip(inner, its, strict=False))]
        pending += reversed(pairs)
    return None


def _syntax_error(content: bytes, failure: ValueError) -> str:
    """With a line and a column, as the standard library tells them."""
    try:
        json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return first_line(error)
    return first_line(failure)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a value in JSON")
