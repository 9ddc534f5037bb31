"""A model that is open for export, conversion and comparison: loaded once, each of its signatures traced once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attnexport.core.errors import ArgumentError, ModelError, no_such
from attnexport.core.runner import Runner
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Shape, Signature, TensorSpec
from attnexport.core.tracer import Tracer
from attnexport.parity import Case

from .models.sources import ModelOrigin

SAVED_MODEL_NAME = "the SavedModel in a session"  # in verdicts that have it as their reference

Feed = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class ModelSource(ABC):
    """What artifacts are made from and compared with; a Keras model or a SavedModel.

    Attributes:
        origin: Where the model comes from.
        reference: Runs the model as it is.
        reference_name: Its name in verdicts.
        feeds: By signature, how inputs of `serving_default` become its own; a signature without a feed takes inputs of
            its own.
        names: Exported input name to Keras name, where they differ.
        integers_below: Synthetic integers must be less than this; None if no vocabulary limits them.
        words: What synthetic strings are taken from, by input name.
        precision: The row of parity's table of budgets.
        notes: What the model's owner should know, a sentence each.
        keeps_warmup: Whether the SavedModel has warm-up records of its own.
        tracer: Shows what the model's layers compute; None without a Keras model.
        narrow: Runs the model as it was, if this one is that model rebuilt in float32; else None.
        narrow_precision: The row of parity's table of budgets that the rebuilt model is held to against it.
        quantized_by: Keras's name of its own quantization, if the model has it, or was rebuilt from such a one.
        has_adapters: Whether it was rebuilt to merge LoRA's adapters.
    """

    origin: ModelOrigin
    reference: Runner
    reference_name: str
    feeds: Mapping[str, Feed]
    names: Mapping[str, str] = field(default_factory=dict)
    integers_below: int | None = None
    words: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    precision: str = "float32"
    notes: tuple[str, ...] = ()
    keeps_warmup: bool = False
    tracer: Tracer | None = None
    narrow: Runner | None = None
    narrow_precision: str = "float32"
    quantized_by: str | None = None
    has_adapters: bool = False

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The signatures that are open, by name."""
        return self.reference.signatures

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What samples are for: the inputs of `serving_default`."""
        return self.signatures[DEFAULT_SIGNATURE].inputs

    @property
    def runs_by_layer(self) -> bool:
        """Whether a call of the reference costs much, however few samples it has, as Python runs layer by layer."""
        return False

    @property
    @abstractmethod
    def content_hash(self) -> str:
        """The hash of what the signatures compute; see `content`."""

    @abstractmethod
    def write(self, path: Path) -> None:
        """Write the signatures as a SavedModel."""

    def write_original(self, path: Path, cases: Sequence[Case]) -> str | None:
        """Write the `.keras` that parity is measured against.

        Args:
            path: The file to write.
            cases: Inputs with the model's outputs, to compare the file with when it is loaded again.

        Returns:
            Why the file is not the model: what it does, without a subject. None if it is.

        Raises:
            ModelError: if there is no Keras model.
        """
        raise ModelError(f"{self.origin.name!r} is a SavedModel, which holds no Keras model")

    def write_fixed(self, path: Path, names: Sequence[str], batch: int | None) -> dict[str, Signature]:
        """Write some signatures as a SavedModel of a fixed batch, for TFLite's converter.

        Args:
            path: The directory to write.
            names: The signatures; `serving_default` must be among them.
            batch: The batch; None leaves it as it is.

        Returns:
            The signatures as written.

        Raises:
            ModelError: if there is no Keras model; `tflite.fix_shapes` does the same for a SavedModel.
        """
        raise ModelError(f"{self.origin.name!r} is a SavedModel; its shapes are fixed without Keras")

    def in_float32(
        self,
        *,
        steps: Sequence[int] = (),
        shapes: Mapping[str, Shape] | None = None,
        signatures: Sequence[str] = (),
    ) -> ModelSource:
        """The source to convert to TFLite: in float32, which its converter requires, and with its free sizes fixed.

        A model that computes in 16 or 64 bits, or was quantized by Keras, is rebuilt with the same weights; it is not
        loaded again. A source that is so already is returned as it is.

        Args:
            steps: Fix free steps to the longest of these; each signature is also given for the others, as
                `steps_N` (`serving_default`) or `NAME_steps_N`.
            shapes: Shapes for inputs, by name; None leaves a dimension as it is.
            signatures: The signatures that are needed; all that are open if empty.

        Raises:
            ArgumentError: if a size is fixed to another one.
            ModelError: if the model cannot be rebuilt.
        """
        return self

    def with_lengths_of(self, names: Iterable[str]) -> ModelSource:
        """The source with those of these signatures that are its own at fixed steps (`steps_N`, `NAME_steps_N`).

        A SavedModel has none.
        """
        return self

    def check_offered(self, names: Iterable[str]) -> None:
        """Refuse the names of signatures that are not open.

        Raises:
            ArgumentError: with the names that there are.
        """
        for name in names:
            if name not in self.signatures:
                raise ArgumentError(no_such("signature", name, sorted(self.signatures)))

    def close(self) -> None:
        """Free the Runners."""
        self.reference.close()
        if self.narrow is not None:
            self.narrow.close()
