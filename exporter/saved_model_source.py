"""A SavedModel, open for export, conversion and comparison as it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from attnexport.core.errors import ModelError
from attnexport.core.signature import DEFAULT_SIGNATURE

from .content import saved_model_hash
from .model_source import SAVED_MODEL_NAME, ModelSource
from .models.sources import ModelOrigin
from .runners import SavedModelRunner
from .saved_model import copy_saved_model
from .warmup import RECORDS_PATH


@dataclass(frozen=True)
class SavedModelSource(ModelSource):
    """A SavedModel, compared with itself in a session.

    Attributes:
        path: Its directory.
    """

    path: Path = field(kw_only=True)

    @classmethod
    def open(cls, origin: ModelOrigin, path: Path) -> SavedModelSource:
        """Load a SavedModel; see `open_model`."""
        runner = SavedModelRunner(path)
        default = runner.signatures.get(DEFAULT_SIGNATURE)
        if default is None:
            runner.close()
            raise ModelError(
                f"{path} has no signature {DEFAULT_SIGNATURE!r} of dense tensors, which TF Serving requires; "
                f"it has {', '.join(runner.signatures) or 'none'}"
            )
        inputs = set(default.inputs)
        return cls(
            origin,
            runner,
            SAVED_MODEL_NAME,
            {name: dict for name, signature in runner.signatures.items() if set(signature.inputs) == inputs},
            keeps_warmup=(path / RECORDS_PATH).exists(),
            path=path,
        )

    @cached_property
    def content_hash(self) -> str:
        return saved_model_hash(self.path, self.signatures)

    def write(self, path: Path) -> None:
        copy_saved_model(self.path, path)
