"""The JSON of requests, read as TF Serving's parser (RapidJSON) reads it.

The first of equal keys counts, text after the value is ignored, and bytes that are not UTF-8 pass through strings:
these are Python's with undecodable bytes as surrogate escapes.
"""

from __future__ import annotations

import base64
import codecs
import json
import math
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from attnexport.core.errors import first_line

from .status import invalid

# Words that RapidJSON takes beside those of Python's json; strings are matched whole, to be left alone.
_WORD = re.compile(r"-?Inf(?!inity)|-NaN")
_WORDS = re.compile(rf'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|{_WORD.pattern}', re.DOTALL)
_SPELLED = {"Inf": "Infinity", "-Inf": "-Infinity", "-NaN": "NaN"}
_SPACE = " \t\n\r"
_EXPONENT = re.compile(r"[eE]\+?(\d+)\Z")
_TOO_BIG = "Number too big to be stored in double."
_MAX_DIGITS = 309  # of an integer that a double holds
# The same as a pattern of bytes: digits as 0, exponents without their plus. Some that are not too big fit it, too.
_AS_PATTERN = bytes.maketrans(b"123456789E", b"000000000e")
_LONG_DIGITS, _LARGE_EXPONENT = b"0" * _MAX_DIGITS, re.compile(rb"e000")  # as a pattern, since that is found faster
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# Escapes in strings: a high surrogate with the low one that may follow it, a low one alone, any other.
_ESCAPES = re.compile(
    r"\\(?:u(?P<high>[dD][89abAB][0-9a-fA-F]{2})(?P<pair>\\u[dD][c-fC-F][0-9a-fA-F]{2})?"
    r"|u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
# absl::Base64Unescape: white space is skipped, padding may be dots, and may be left out.
_BASE64 = re.compile(r"[A-Za-z0-9+/]*(?P<padding>[=.]*)")
_DELETED_SPACE = dict.fromkeys(map(ord, " \t\n\v\f\r"))
TENSORFLOW_NAMES = {"float32": "float", "float64": "double", "float16": "half"}  # of dtypes that numpy calls otherwise
_FEW_QUOTES = 16
_MAX_SHOWN = 100  # characters of a value in a message


class Repeated(dict[str, Any]):
    """A JSON object with a key that occurs more than once: the first value counts.

    Attributes:
        pairs: All keys and values, in order.
    """

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(reversed(pairs))
        self.pairs = pairs


def parse(body: bytes | bytearray) -> dict[str, Any]:
    """The JSON object of a request; NaN, Inf, Infinity and their negatives are numbers.

    Raises:
        StatusError: if the body does not begin with a JSON object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    document: Any = _plain(body)
    try:
        if document is None:
            document = _load(body.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {first_line(error)}") from error
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {shown(document)} Is not object")
    if not isinstance(document.get("signature_name", ""), str):
        raise invalid(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return document


def _plain(body: bytes | bytearray) -> dict[str, Any] | None:
    """An object of numbers in lists, read several times as fast; None for all that has to be read with care."""
    quotes = body.count(b'"')
    if quotes > _FEW_QUOTES or b"\\" in body or _may_be_too_big(body):
        return None
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if type(document) is not dict:
        return None
    strings = [value for value in document.values() if type(value) is str]
    # With more quotes there are objects within it, or equal keys.
    is_plain = quotes == 2 * (len(document) + len(strings)) and all(map(str.isprintable, (*document, *strings)))
    return document if is_plain else None


def _may_be_too_big(body: bytes | bytearray) -> bool:
    """Whether a body may hold a number that RapidJSON refuses for its size, and msgspec reads."""
    pattern = body.translate(_AS_PATTERN, b"+")
    return _LONG_DIGITS in pattern or _LARGE_EXPONENT.search(pattern) is not None


def _load(text: str) -> Any:
    if _SURROGATE.search(text):
        text = _ESCAPES.sub(_read_surrogate, text)
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        document, _ = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        if not _WORD.match(error.doc, error.pos):
            raise
        spelled = _WORDS.sub(lambda match: _SPELLED.get(match[0], match[0]), text)
        document, _ = _DECODER.raw_decode(spelled, start)
    return document


def _read_surrogate(match: re.Match[str]) -> str:
    """An escape as it is, but a low surrogate alone as the three bytes that RapidJSON writes."""
    if match["high"] and not match["pair"]:
        raise ValueError("The surrogate pair in string is invalid.")
    if not match["low"]:
        return match[0]
    return chr(int(match["low"], 16)).encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")


def _float(text: str) -> float:
    """A number with a fraction or an exponent; RapidJSON refuses large exponents of 0, too."""
    value = float(text)
    if not value or value - value:
        exponent = _EXPONENT.search(text)
        fraction = len(text[: exponent.start()].partition(".")[2]) if exponent else 0
        if value or (exponent and int(exponent[1][:20]) > _MAX_DIGITS - 1 + fraction):
            raise ValueError(_TOO_BIG)
    return value


def _int(text: str) -> int:
    if len(text) >= _MAX_DIGITS and (len(text) > _MAX_DIGITS + 1 or math.isinf(float(text))):
        raise ValueError(_TOO_BIG)
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    return members if len(members) == len(pairs) else Repeated(pairs)


_ENCODER = json.JSONEncoder()
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=float, parse_float=_float, parse_int=_int)


def members(value: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """The keys and values of an object, with those that occur more than once."""
    return value.pairs if isinstance(value, Repeated) else value.items()


def type_error(value: Any, dtype: str) -> ValueError:
    """The error of a value that a dtype does not take."""
    name = TENSORFLOW_NAMES.get(dtype, dtype)
    return ValueError(f"JSON Value: {shown(value)} Type: {json_type(value)} is not of expected type: {name}")


def is_base64(value: Any) -> bool:
    """Whether a JSON value is an object that stands for bytes."""
    is_lone = isinstance(value, dict) and value.keys() == {"b64"} and not isinstance(value, Repeated)
    return is_lone and isinstance(value["b64"], str)


def read_base64(value: Any) -> bytes:
    """The bytes that a `{"b64": ...}` stands for.

    Raises:
        ValueError: if it does not decode.
    """
    if not isinstance(value, dict):
        raise type_error(value, "string")
    if not is_base64(value):
        raise ValueError(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text = value["b64"].translate(_DELETED_SPACE)
    match = _BASE64.fullmatch(text)
    if match is None:
        raise ValueError("Unable to base64 decode")
    digits, missing = text[: match.start("padding")], -match.start("padding") % 4
    if missing == 3 or len(match["padding"]) not in (0, missing):
        raise ValueError("Unable to base64 decode")
    return base64.b64decode(digits + "=" * missing)


def encoded(text: str) -> bytes:
    """The bytes of a string of a request."""
    return text.encode("utf-8", "surrogateescape")


def json_type(value: Any) -> str:
    """The name of a JSON value's type, as RapidJSON has it."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, dict):
        return "Object"
    return {list: "Array", str: "String", type(None): "Null"}.get(type(value), "Number")


def shown(value: Any) -> str:
    """The first characters of a value as text, for a message; no more than those is made of a large one."""
    text = ""
    for piece in _ENCODER.iterencode(value):
        text += piece
        if len(text) >= _MAX_SHOWN:
            break
    return text[:_MAX_SHOWN]
