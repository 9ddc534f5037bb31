"""Values that everything shares: errors, signatures, Runners, samples, tracers."""

from typing import TYPE_CHECKING

from .lazy import lazy_names

if TYPE_CHECKING:
    from .errors import (
        ArgumentError,
        AttnexportError,
        CodecError,
        ContentError,
        DeadlineError,
        GateError,
        ManifestError,
        ModelError,
        NotFoundError,
        ParityError,
        RefusedError,
        SamplesError,
        ServingError,
        StorageError,
        UnavailableError,
    )
    from .runner import Runner, batched
    from .samples import Samples, load_samples, synthetic_samples
    from .signature import DEFAULT_SIGNATURE, Array, Arrays, Signature, TensorSpec

_HOMES = {
    "ArgumentError": "errors",
    "Array": "signature",
    "Arrays": "signature",
    "AttnexportError": "errors",
    "CodecError": "errors",
    "ContentError": "errors",
    "DEFAULT_SIGNATURE": "signature",
    "DeadlineError": "errors",
    "GateError": "errors",
    "ManifestError": "errors",
    "ModelError": "errors",
    "NotFoundError": "errors",
    "ParityError": "errors",
    "RefusedError": "errors",
    "Runner": "runner",
    "Samples": "samples",
    "SamplesError": "errors",
    "ServingError": "errors",
    "Signature": "signature",
    "StorageError": "errors",
    "TensorSpec": "signature",
    "UnavailableError": "errors",
    "batched": "runner",
    "load_samples": "samples",
    "synthetic_samples": "samples",
}

__all__ = [
    "DEFAULT_SIGNATURE",
    "ArgumentError",
    "Array",
    "Arrays",
    "AttnexportError",
    "CodecError",
    "ContentError",
    "DeadlineError",
    "GateError",
    "ManifestError",
    "ModelError",
    "NotFoundError",
    "ParityError",
    "RefusedError",
    "Runner",
    "Samples",
    "SamplesError",
    "ServingError",
    "Signature",
    "StorageError",
    "TensorSpec",
    "UnavailableError",
    "batched",
    "load_samples",
    "synthetic_samples",
]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
