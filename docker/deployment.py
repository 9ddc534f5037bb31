"""What a deployment is made of: values that fit the model, from its manifest alone."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attnexport.core import ArgumentError, Signature, TensorSpec
from attnexport.core.errors import check_size
from attnexport.store import Artifact, VersionEntry

Target = Literal["docker", "kubernetes"]

_MOST_JOINED = 32  # samples, unless someone says otherwise
_MOST_BYTES = 64 << 20  # of the inputs and outputs of one batch
_MIB = 1 << 20
_SERVER_MIB = 512  # for the server itself; then the weights, a copy while they are read, and as much for activations
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]*")
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Deployment:
    """The values that the files are filled in with.

    Attributes:
        target: What it is for.
        name: The model's name in TF Serving.
        service: The same as a host name.
        version: The version that is baked in.
        image: The image's name and tag.
        tf_serving_version: The tag of tensorflow/serving that it is built on.
        cpus: Processors of a server, and its threads.
        memory_mib: Memory of a server in MiB.
        batch_sizes: Sizes that batches are filled up to, ascending; none where requests are not joined.
        replicas: The least number of servers on Kubernetes.
        connection_seconds: The age at which the server ends a connection.
        drain_seconds: How long a server that is being replaced goes on answering; longer than a connection lives.
    """

    target: Target
    name: str
    service: str
    version: int
    image: str
    tf_serving_version: str
    cpus: int
    memory_mib: int
    batch_sizes: tuple[int, ...]
    replicas: int
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
    """The deployment of a version.

    Args:
        target: What it is for.
        name: The export's name, which the model is served under.
        entry: The version.
        saved_model: Its SavedModel.
        image: The image's name; `NAME:VERSION` where None.
        tf_serving_version: A tag of tensorflow/serving; the version of TensorFlow that wrote the export where None.
        cpus: Processors of a server.
        replicas: The least number of servers on Kubernetes.
        max_batch: The most samples of different requests that run as one call, 1 for none; where None what fits the
            model.

    Raises:
        ArgumentError: for a name that a container's world does not take, or a number out of range.
    """
    if not _NAME.fullmatch(name) or len(name) > 63:
        raise ArgumentError(
            f"the name {name!r} cannot be deployed: up to 63 letters, digits, '.', '_' and '-', with a letter or digit "
            "at both ends, are wanted; export under another --name"
        )
    service = re.sub(r"[._]", "-", name.lower())
    service = service if service[0].isalpha() else f"model-{service}"
    if len(service) > 63:
        raise ArgumentError(f"a service is named by up to 63 characters, and {service!r} has {len(service)}")
    image = f"{service}:{entry.version}" if image is None else image
    if not _IMAGE.fullmatch(image):
        raise ArgumentError(
            f"image {image!r} is no name of an image, such as registry.example/{service}:{entry.version}"
        )
    tag = tf_serving_version or entry.environment.get("tensorflow", "latest")
    if not _VERSION.fullmatch(tag):
        raise ArgumentError(f"{tag!r} is no tag of tensorflow/serving, such as 2.19.1")
    return Deployment(
        target,
        name,
        service,
        entry.version,
        image,
        tag,
        check_size("cpus", cpus, most=1024),
        256 * math.ceil((_SERVER_MIB + 3 * saved_model.size_bytes / _MIB) / 256),
        _batch_sizes(saved_model.signatures, max_batch),
        check_size("replicas", replicas, most=1000),
    )


def _batch_sizes(signatures: Sequence[Signature], max_batch: int | None) -> tuple[int, ...]:
    """Powers of two up to the largest batch; none where one request is all that a batch can hold."""
    if max_batch is not None:
        check_size("max-batch", max_batch)
    joinable = [each for each in signatures if each.is_batched and each.fixed_batch is None]
    if len(joinable) < len(signatures):
        if max_batch not in (None, 1):
            raise ArgumentError("max-batch: the batch of this model is fixed, so requests cannot be joined")
        return ()
    if max_batch is None:
        sample = max(sum(map(_bytes, (*each.inputs, *each.outputs))) for each in joinable)
        max_batch = max(1, min(_MOST_JOINED, _MOST_BYTES // max(1, sample)))
        max_batch = 1 << (max_batch.bit_length() - 1)
    if max_batch == 1:
        return ()
    return (*(1 << power for power in range((max_batch - 1).bit_length())), max_batch)


def _bytes(spec: TensorSpec) -> int:
    """Of one sample; free dimensions count as one."""
    each = 1 if spec.dtype in ("string", "bfloat16") else np.dtype(spec.dtype).itemsize
    return each * math.prod(size or 1 for size in (spec.shape or ())[1:])
