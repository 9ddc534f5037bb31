"""Options of a conversion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from attnexport.core.signature import Arrays

from .metadata import ModelMetadata

Feed = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class ConversionOptions:
    """What may be left out when a model is converted.

    Attributes:
        reference_name: Name of the original in verdicts.
        feeds: By signature, how the calibration's inputs become its own; without one they are its own.
        allow_flex: Leave operators without a TFLite kernel to TensorFlow's (Flex), which only apps that link them can
            run.
        max_size: Bytes a file may have at most.
        keep_failed: Directory in which a file that fails its gate is kept, as NAME.failed.tflite.
        metadata: Name, version and labels that are written into each file; nothing if None.

    Example:
        >>> ConversionOptions(max_size=500_000).allow_flex
        False
    """

    reference_name: str = "Keras"
    feeds: Mapping[str, Feed] = field(default_factory=dict, repr=False)
    allow_flex: bool = False
    max_size: int | None = None
    keep_failed: Path | None = None
    metadata: ModelMetadata | None = None
