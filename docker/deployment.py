"""The values of a deployment: they fit the model, and come from its manifest alone."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from attnexport.core import ArgumentError, Signature, TensorSpec
from attnexport.core.errors import check_size, no_such
from attnexport.core.signature import format_shape
from attnexport.store import Artifact, VersionEntry

from .tags import TAGS, choose_tag

Target = Literal["docker", "kubernetes"]

_DEFAULT_MAX_BATCH = 32  # samples
_MAX_BATCH_BYTES = 64 << 20  # of the inputs and outputs of one batch
_MIB = 1 << 20
# TF Serving's default, 4 calls per processor, refuses bursts that would be answered within milliseconds.
_MIN_GRPC_THREADS, _GRPC_THREADS_PER_CPU = 64, 16
# For the server itself. Weights come on top three times: themselves, a copy while they load, and activations.
_SERVER_MIB = 512
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]*")
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(@sha256:[0-9a-f]{64})?")


@dataclass(frozen=True)
class Deployment:
    """The values the files are filled in with.

    Attributes:
        target: Docker compose or Kubernetes.
        name: Name of the model in TF Serving.
        service: The name as a host name.
        version: The version in the image.
        image: Name and tag of the image.
        tf_serving_version: Tag of the image tensorflow/serving to build on, with `@sha256:...` if it is pinned.
        cpus: Processors of a server, and its threads.
        grpc_max_threads: gRPC calls that a server takes at once; it refuses further ones (RESOURCE_EXHAUSTED).
        memory_mib: Memory of a server in MiB.
        batch_sizes: Sizes that batches are padded to, ascending; empty if requests are not batched.
        no_batching: Why requests are not batched; empty if they are.
        notes: What to know before the image is built.
        replicas: Servers on Kubernetes at least.
        connection_seconds: Maximum age of a connection; then the server closes it.
        drain_seconds: How long a terminating server keeps serving; longer than `connection_seconds`.
    """

    target: Target
    name: str
    service: str
    version: int
    image: str
    tf_serving_version: str
    cpus: int
    grpc_max_threads: int
    memory_mib: int
    batch_sizes: tuple[int, ...]
    no_batching: str
    replicas: int
    notes: tuple[str, ...] = ()
    connection_seconds: int = 20
    drain_seconds: int = 30


def plan_deployment(
    target: Target,
    name: str,
    entry: VersionEntry,
    saved_model: Artifact,
    *,
    image: str | None = None,
    tf_serving_version: str | None = None,
    cpus: int = 2,
    replicas: int = 2,
    max_batch: int | None = None,
) -> Deployment:
    """Plan the deployment of a version.

    Args:
        target: Docker compose or Kubernetes.
        name: Name of the export, which the model is served under.
        entry: The version.
        saved_model: Its SavedModel.
        image: Name and tag of the image; `NAME:VERSION` if None.
        tf_serving_version: Tag of the image tensorflow/serving; the newest that is known to exist if None.
        cpus: Processors of a server.
        replicas: Servers on Kubernetes at least.
        max_batch: Samples of different requests that run as one call at most, 1 for no batching; what fits the model if
            None.

    Raises:
        ArgumentError: for an unknown target, a name that is not valid for containers, or a number out of range.

    Example:
        >>> from attnexport.core import Signature, TensorSpec
        >>> specs = [TensorSpec(name, "float32", (None, 8)) for name in ("x", "y")]
        >>> signature = Signature("serving_default", specs[:1], specs[1:])
        >>> artifact = Artifact("saved_model", "saved_model/3", "", 5_000_000, "float32", (signature,))
        >>> entry = VersionEntry(3, "", {}, {"tensorflow": "2.21.0"}, "Keras", (artifact,))
        >>> plan = plan_deployment("docker", "classifier", entry, artifact)
        >>> plan.image, plan.memory_mib, plan.batch_sizes, plan.grpc_max_threads
        ('classifier:3', 768, (1, 2, 4, 8, 16, 32), 96)
    """
    if target not in get_args(Target):
        raise ArgumentError(no_such("target", target, get_args(Target)))
    if not _NAME.fullmatch(name) or len(name) > 63:
        raise ArgumentError(
            f"the name {name!r} cannot be deployed: use up to 63 letters, digits, '.', '_' and '-', with a letter or "
            "digit at both ends, and export again under such a --name"
        )
    service = re.sub(r"[._]", "-", name.lower())
    service = service if service[0].isalpha() else f"model-{service}"
    if len(service) > 63:
        raise ArgumentError(f"the service name {service!r} has {len(service)} characters; at most 63 are allowed")
    in_registry = f"registry.example/{service}:{entry.version}"
    local = image is None and target == "kubernetes"
    image = f"{service}:{entry.version}" if image is None else image
    if not _IMAGE.fullmatch(image):
        raise ArgumentError(f"image {image!r} is not the name of an image, such as {in_registry}")
    if tf_serving_version is not None and not _VERSION.fullmatch(tf_serving_version):
        raise ArgumentError(
            f"{tf_serving_version!r} is not a tag of tensorflow/serving, such as {TAGS[0]} or {TAGS[0]}@sha256:DIGEST"
        )
    tag, notes = choose_tag(entry.environment.get("tensorflow", ""), tf_serving_version)
    if local:
        notes += (
            f"the image name {image} has no registry for a cluster to pull from: pass --image, such as {in_registry}",
        )
    check_size("cpus", cpus, most=1024)
    batch_sizes, no_batching = _batch_sizes(saved_model.signatures, max_batch)
    return Deployment(
        target,
        name,
        service,
        entry.version,
        image,
        tag,
        cpus,
        _grpc_threads(cpus, batch_sizes),
        256 * math.ceil((_SERVER_MIB + 3 * saved_model.size_bytes / _MIB) / 256),
        batch_sizes,
        no_batching,
        check_size("replicas", replicas, most=1000),
        notes,
    )


def _batch_sizes(signatures: Sequence[Signature], max_batch: int | None) -> tuple[tuple[int, ...], str]:
    """Powers of two up to the largest batch; or none, and why requests are not batched."""
    if max_batch is not None:
        check_size("max-batch", max_batch)
    if max_batch == 1:
        return (), "--max-batch was 1"
    obstacle = next(filter(None, map(_obstacle, signatures)), "")
    if obstacle:
        if max_batch is not None:
            raise ArgumentError(f"--max-batch {max_batch} is not possible: {obstacle}")
        return (), obstacle
    if max_batch is None:
        sample = max(sum(map(_bytes, (*each.inputs, *each.outputs))) for each in signatures)
        max_batch = max(1, min(_DEFAULT_MAX_BATCH, _MAX_BATCH_BYTES // max(1, sample)))
        max_batch = 1 << (max_batch.bit_length() - 1)
        if max_batch == 1:
            return (), f"two samples of {sample >> 20} MiB each are more than a batch of {_MAX_BATCH_BYTES >> 20} MiB"
    return (*(1 << power for power in range((max_batch - 1).bit_length())), max_batch), ""


def _obstacle(signature: Signature) -> str:
    """Why requests to a signature cannot be joined; empty if they can."""
    if not signature.inputs:
        return f"signature {signature.name!r} has no inputs, so its requests have no batch"
    without = signature.tensors_without_batch()
    if not without:
        return ""
    kind = "input" if without[0] in signature.inputs else "output"
    return (
        f"{kind} {without[0].name!r} of signature {signature.name!r} has shape {format_shape(without[0].shape)}, whose "
        "first dimension is not a free batch"
    )


def _grpc_threads(cpus: int, batch_sizes: Sequence[int]) -> int:
    """Calls that a server takes at once: enough that requests of one sample fill all batches that run and the next."""
    return max(_MIN_GRPC_THREADS, _GRPC_THREADS_PER_CPU * cpus, *(size * (cpus + 1) for size in batch_sizes[-1:]))


def _bytes(spec: TensorSpec) -> int:
    """Bytes of one sample; free dimensions count as 1."""
    each = 1 if spec.dtype in ("string", "bfloat16") else np.dtype(spec.dtype).itemsize
    return each * math.prod(size or 1 for size in (spec.shape or ())[1:])
