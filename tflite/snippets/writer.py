"""Fills in the templates."""

from __future__ import annotations

import keyword
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnexport.core.errors import ArgumentError, ModelError, no_such
from attnexport.core.signature import DEFAULT_SIGNATURE, TensorSpec
from attnexport.tflite.graph import Graph, read_graph
from attnexport.tflite.metadata import labelled_output, read_metadata

from .quoting import QUOTED, comment

_FILES = {
    "python": "python.py",
    "javascript": "javascript.js",
    "kotlin": "kotlin.kt",
    "swift": "swift.swift",
    "c": "c.c",
}
LANGUAGES = tuple(_FILES)
_RESERVED = {
    *keyword.kwlist,
    *("var", "val", "let", "const", "function", "class", "in", "is", "for", "if", "int", "float", "double", "func"),
    *("labels", "model", "run", "runner", "outputs", "inputs", "interpreter", "np", "values", "answer", "data"),
}
_TYPES: dict[str, dict[str, str]] = {
    "kotlin": dict.fromkeys(("float32", "int32", "int64", "uint8", "int8", "int16", "bool"), "ByteBuffer"),
    "swift": {
        "float32": "Float32",
        "int32": "Int32",
        "int64": "Int64",
        "bool": "Bool",
        "uint8": "UInt8",
        "int8": "Int8",
        "int16": "Int16",
    },
    "c": {
        "float32": "float",
        "int32": "int32_t",
        "int64": "int64_t",
        "bool": "bool",
        "float16": "uint16_t",
        "uint8": "uint8_t",
        "int8": "int8_t",
        "int16": "int16_t",
    },
    "javascript": {"float32": "Float32Array", "int32": "Int32Array", "uint8": "Uint8Array"},
}
_JAVA_WRITE = {
    "float32": "putFloat",
    "int32": "putInt",
    "int64": "putLong",
    "uint8": "put",
    "int8": "put",
    "int16": "putShort",
}
_LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
_BYTES = {
    "float32": 4,
    "int32": 4,
    "int64": 8,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "bool": 1,
    "float16": 2,
    "float64": 8,
}


@dataclass(frozen=True)
class _Tensor:
    """A tensor as templates read it.

    Attributes:
        name: Its name in the signature.
        variable: A name for it that every language takes.
        spec: What it is, in words.
        dtype: Its type.
        shape: Its sizes; 1 for free ones.
        affine: Scale and zero point; None if it is not quantized.
    """

    name: str
    variable: str
    spec: str
    dtype: str
    shape: tuple[int, ...]
    affine: tuple[float, int] | None

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.count * _BYTES.get(self.dtype, 4)

    @property
    def limits(self) -> tuple[int, int]:
        return _LIMITS.get(self.dtype, (0, 0))

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith("float")

    @property
    def scale(self) -> str:
        return repr(float(self.affine[0])) if self.affine else "1.0"

    @property
    def zero(self) -> int:
        return self.affine[1] if self.affine else 0


def write_snippet(content: bytes, language: str, file_name: str) -> str:
    """Write code that loads a .tflite and runs it once.

    Args:
        content: The file.
        language: One of `LANGUAGES`.
        file_name: What the file is called where the lines run.

    Returns:
        A program, or the body of a function, which ends with a newline.

    Raises:
        ArgumentError: for a language that does not exist.
        ModelError: if it is not a .tflite, is damaged, or has no signature.
    """
    if language not in LANGUAGES:
        raise ArgumentError(no_such("language", language, LANGUAGES))
    graph = read_graph(content)
    if not graph.signatures:
        raise ModelError("it has no signature to call; convert it again from a SavedModel")
    name = DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in graph.signatures else min(graph.signatures)
    signature = graph.signature(name)
    inputs, outputs = (
        _tensors(graph, name, at, specs) for at, specs in ((0, signature.inputs), (1, signature.outputs))
    )
    metadata = read_metadata(content)
    labels = metadata.labels if metadata else ()
    labelled = labelled_output(signature, labels)
    from jinja2 import Environment, StrictUndefined

    environment = Environment(  # noqa: S701 - of programs, not of HTML
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["quoted"], environment.filters["comment"] = QUOTED[language], comment
    template = (Path(__file__).with_name("templates") / f"{_FILES[language]}.jinja").read_text(encoding="utf-8")
    text: str = environment.from_string(template).render(
        file=file_name,
        signature=name,
        inputs=inputs,
        outputs=outputs,
        labels=list(labels) if labelled else [],
        labelled=next((each for each in outputs if each.name == labelled), None),
        types=_TYPES.get(language, {}),
        java_write=_JAVA_WRITE,
        unsupported=[each for each in (*inputs, *outputs) if each.dtype not in _TYPES.get(language, {each.dtype: ""})],
    )
    return text


def _tensors(graph: Graph, signature: str, side: int, specs: tuple[TensorSpec, ...]) -> list[_Tensor]:
    subgraph = graph.subgraphs[graph.signatures[signature]]
    indices = graph.tensors[signature][side]
    tensors: list[_Tensor] = []
    taken: set[str] = set()
    for spec in specs:
        affine: Any = subgraph.tensors[indices[spec.name]].affine
        shape = tuple(size or 1 for size in spec.shape or ())
        variable = _variable(spec.name, "output" if side else "input", taken)
        tensors.append(_Tensor(spec.name, variable, str(spec), spec.dtype, shape, affine))
    return tensors


def _variable(name: str, kind: str, taken: set[str]) -> str:
    """A name that is one in every language, and not taken."""
    word = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    if not word or not word[0].isalpha():
        word = f"{kind}_{word}".rstrip("_")
    if word in _RESERVED:
        word = f"{word}_{kind}"
    while word in taken:
        word += "_"
    taken.add(word)
    return word
