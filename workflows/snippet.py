"""`inspect --snippet`: code that loads and runs a .tflite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnexport.core.errors import ArgumentError, ContentError

from .choices import LANGUAGES
from .result import Block, Line, Result


@dataclass(frozen=True)
class SnippetResult(Result):
    """A program for one .tflite.

    Attributes:
        path: The file.
        language: What it is written in.
        text: The program.
    """

    path: Path
    language: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        return {"path": str(self.path), "language": self.language, "text": self.text}

    def blocks(self) -> Sequence[Block]:
        return [Line(self.text.rstrip("\n"), is_program=True)]


def snippet(artifact: str | Path, language: str) -> SnippetResult:
    """Write code that loads a .tflite and runs it once: its names, shapes, types, quantization and labels.

    Args:
        artifact: The .tflite.
        language: python, javascript, kotlin, swift or c.

    Raises:
        ArgumentError: if the file does not exist or is not a .tflite, or the language does not exist.
        ContentError: if it is damaged, or has no signature.

    Example:
        >>> try:
        ...     snippet("model.keras", "kotlin")
        ... except ArgumentError as error:
        ...     print(error)
        --snippet kotlin is for a .tflite, and model.keras is not one
    """
    path = Path(artifact)
    if language not in LANGUAGES:
        from attnexport.core.errors import no_such

        raise ArgumentError(no_such("language", language, LANGUAGES))
    if path.suffix != ".tflite":
        raise ArgumentError(f"--snippet {language} is for a .tflite, and {path} is not one")
    from attnexport.tflite.runner import read_file
    from attnexport.tflite.snippets import write_snippet

    try:
        return SnippetResult(path, language, write_snippet(read_file(path), language, path.name))
    except ContentError as error:
        raise type(error)(str(error) if str(path) in str(error) else f"{path}: {error}") from error
