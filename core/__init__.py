"""Values that everything shares: errors, signatures, Runners, samples, the manifest, the export directory."""

from typing import TYPE_CHECKING

from .lazy import lazy_names

if TYPE_CHECKING:
    from .errors import (
        ArgumentError,
        AttnexportError,
        ContentError,
        GateError,
        ManifestError,
        ModelError,
        ParityError,
        SamplesError,
        StorageError,
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
    "ContentError": "errors",
    "DEFAULT_SIGNATURE": "signature",
    "ExportDirectory": "export_directory",
    "GateError": "errors",
    "Manifest": "manifest",
    "ManifestError": "errors",
    "ModelError": "errors",
    "ParityError": "errors",
    "Runner": "runner",
    "Samples": "samples",
    "SamplesError": "errors",
    "Signature": "signature",
    "StorageError": "errors",
    "TensorSpec": "signature",
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
    "ContentError",
    "ExportDirectory",
    "GateError",
    "Manifest",
    "ManifestError",
    "ModelError",
    "ParityError",
    "Runner",
    "Samples",
    "SamplesError",
    "Signature",
    "StorageError",
    "TensorSpec",
    "VersionEntry",
    "batched",
    "load_samples",
    "synthetic_samples",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
