"""How messages name an option: as it is typed on the command line, or as the keyword that Python's functions take.

Messages are written for the command line (`give --evaluation FILE`), whose edge says so for as long as a command runs.
Everywhere else, where an error or a result is shown, the options in its text become keywords (`give evaluation=FILE`).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# Keywords that are not called as the option is, take another value, or belong to an object of options.
_KEYWORDS = {
    "access_log": "on_access={}",
    "allow-flex": "allow_flex=True",
    "as-version": "version={}",
    "batch-size": "batch={}",
    "force": "force=True",
    "grace": "ServeSettings(grace_seconds={})",
    "host": "ServeSettings(host={})",
    "import": "imports=[{}]",
    "input": "inputs=[TensorSpec.parse({})]",
    "input-name": "input_names=[{}]",
    "integer-only": "integer_only=True",
    "json": "to_json()",
    "keep-failed": "keep_failed=True",
    "keep-float": "keep_float=[{}]",
    "layers": "layers=True",
    "max-accuracy-drop": "search=SearchOptions(max_accuracy_drop={})",
    "max-latency": "search=SearchOptions(max_latency_ms={})",
    "min-agreement": "search=SearchOptions(min_agreement={})",
    "min-sqnr": "min_sqnr_db={}",
    "new-signature": "new_signature=True",
    "no-inherit": "inherit=False",
    "objective": "search=SearchOptions(objective={})",
    "output-name": "output_names=[{}]",
    "quantize": "recipes={}",
    "rest_api_port": "rest_port={}",
    "shape": "shapes={}",
    "signature": "signatures=[{}]",
    "tf-serving-version": "tf_serving_version={}",
    "trials": "search=SearchOptions(trials={})",
    "trust": "trust=True",
    "workers": "ServeSettings(workers={})",
}
# The same name with underscores, and a value.
_SAME = (
    "batch", "calibration", "calibrator", "digest", "evaluation", "html", "image", "io", "labels-for",
    "max-batch", "max-size", "model", "name", "node-data", "output", "port", "rounds", "samples", "seconds", "server",
    "steps", "version", "warmup", "write-digest",
)  # fmt: skip
_OPTIONS = {**_KEYWORDS, **{name: f"{name.replace('-', '_')}={{}}" for name in _SAME}}
_NAME = "|".join(sorted(map(re.escape, _OPTIONS), key=len, reverse=True))
_FLAG = r"[a-z]+(?:_[a-z]+)+"  # of TF Serving, a field of ServeSettings
_VALUE = r"'[^']*'|[A-Z]+(?:[:.][A-Za-z]+|\[[A-Z]+\])*(?![\w-])|\d[\d.]*(?<!\.)(?![\w-])|auto|latency"
_SIZES = r"(?<=--shape )[^\s=']+=[\w?,]*[\w?]"
_WORD = r"(?<=--import )[\w./-]*\w|(?<=-q )[\w./-]*\w"  # what these take always follows them
_ONE = rf"(?<![\w-])(?:--({_NAME}|{_FLAG})|-q)(?![\w-])(?:[ =]({_SIZES}|{_VALUE}|{_WORD}))?"
_OPTION = re.compile(_ONE)
_SEVERAL = re.compile(f"{_ONE}(?: {_ONE})*")
_REPEATED = re.compile(r"\], imports=\[")  # a keyword is given once
_IS_CODE = re.compile(r"'|\d|[A-Z]+$")  # a value that stands as it is: quoted, a number, or a word such as FILE

_typed = threading.Event()  # set while a command runs


@contextmanager
def as_typed() -> Iterator[None]:
    """Name options as they are typed, while a command runs."""
    nested = _typed.is_set()
    _typed.set()
    try:
        yield
    finally:
        if not nested:
            _typed.clear()


def is_typed() -> bool:
    """Whether a command runs."""
    return _typed.is_set()


def worded(text: str, *, flags: bool = True) -> str:
    """A message for whoever reads it: on the command line as it is, elsewhere with keywords in the place of options.

    Args:
        text: The message.
        flags: Take TF Serving's flags for fields of ServeSettings, too. What a server says names its own.

    Example:
        >>> worded("give --evaluation FILE, or --trust")
        'give evaluation=FILE, or trust=True'
        >>> worded("use -q auto --min-sqnr 30")
        "use recipes='auto', min_sqnr_db=30"
        >>> worded("--port is 0; give --shape x=1,N")
        "port is 0; give shapes={'x': (1, N)}"
    """
    if _typed.is_set() or "-" not in text:
        return text

    def keyword(match: re.Match[str]) -> str:
        name, value = match[1] or "quantize", match[2]
        template = _OPTIONS.get(name)
        if template is None:
            if not flags:
                return match[0]
            template = f"ServeSettings({name}={{}})"
        if value is None:
            return template.replace("{}", "…") if template[-1] in ")]" else template.removesuffix("={}")
        shown = _as_python(name, value)
        spare = "" if "{}" in template else f" {value}"
        return template.replace("{}", shown) + spare

    def keywords(several: re.Match[str]) -> str:
        listed = ", ".join(map(keyword, _OPTION.finditer(several[0])))
        return _REPEATED.sub(", ", listed)

    return _SEVERAL.sub(keywords, text)


def _as_python(name: str, value: str) -> str:
    """The value of an option as Python has it."""
    if name == "shape" and "=" in value:
        key, _, sizes = value.rpartition("=")
        described = sizes.replace("?", "None").replace(",", ", ") + "," * ("," not in sizes)
        return f"{{{key!r}: ({described})}}"
    return value if _IS_CODE.match(value) else repr(value)


def worded_all(notes: Iterable[str]) -> tuple[str, ...]:
    """Several messages."""
    return tuple(map(worded, notes))
