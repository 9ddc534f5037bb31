"""Values that everything shares: errors, signatures, Runners, samples, the manifest, the export directory."""

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
    from .export_directory import ExportDirectory
    from .manifest import Artifact, Manifest, VersionEntry
    from .runner import Runner, batched
    from .samples import Samples, load_samples, synthetic_samples
    from .signature import DEFAULT_SIGNATURE, Arrays, Signature, TensorSpec

_HOMES = {
    "ArgumentError": "errors",
    "Arrays": "signature",
    "Artifact": "manifest",
    "AttnexportError": "errors",
    "CodecError": "errors",
    "ContentError": "errors",
    "DEFAULT_SIGNATURE": "signature",
    "DeadlineError": "errors",
    "ExportDirectory": "export_directory",
    "GateError": "errors",
    "Manifest": "manifest",
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
    "VersionEntry": "manifest",
    "batched": "runner",
    "load_samples": "samples",
    "synthetic_samples": "samples",
}

__all__ = [
    "DEFAULT_SIGNATURE",
    "ArgumentError",
    "Arrays",
    "Artifact",
    "AttnexportError",
    "CodecError",
    "ContentError",
    "DeadlineError",
    "ExportDirectory",
    "GateError",
    "Manifest",
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
    "VersionEntry",
    "batched",
    "load_samples",
    "synthetic_samples",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
