"""`deploy`: an export as an image of TF Serving, with all that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attnexport.core.errors import ArgumentError, check_path
from attnexport.core.printable import shell_word
from attnexport.core.progress import Progress, silent
from attnexport.core.wording import worded

from .result import Block, Line, Result

if TYPE_CHECKING:
    from attnexport.docker import Deployment

Target = Literal["docker", "kubernetes"]


@dataclass(frozen=True)
class DeployResult(Result):
    """A directory with the files of a deployment.

    Attributes:
        plan: The values the files were filled in with.
        directory: The directory.
        files: Paths below it.
    """

    plan: Deployment
    directory: Path
    files: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self.plan), "directory": str(self.directory), "files": list(self.files)}

    def blocks(self) -> Sequence[Block]:
        plan = self.plan
        batches = f"batches of up to {plan.batch_sizes[-1]}" if plan.batch_sizes else "no batching"
        advice = (
            f"Each server takes {plan.grpc_max_threads} gRPC calls at once and refuses more with RESOURCE_EXHAUSTED: "
            "clients should try those again after a pause, as attnexport's does"
        )
        return [
            Line(f"{self.directory}: {plan.name} version {plan.version} on TF Serving {plan.tf_serving_version}"),
            Line(f"{plan.cpus} processors, {plan.memory_mib} MiB, {batches}"),
            *([Line(worded(f"not batched: {plan.no_batching}"))] if plan.no_batching else []),
            *(Line(worded(f"note: {note}")) for note in plan.notes),
            Line(""),
            *(Line(f"  {file}") for file in self.files),
            Line(f"\n{advice}."),
            Line("\nNext:"),
            *(Line(f"  {line}") for line in self.next_commands),
        ]

    @property
    def next_commands(self) -> tuple[str, ...]:
        """The commands that build the image and start it."""
        directory, image = shell_word(str(self.directory)), shell_word(self.plan.image)
        if self.plan.target == "docker":
            return (f"docker compose --project-directory {directory} up --build",)
        return (
            f"docker build -t {image} {directory} && docker push {image}",
            f"kubectl apply -k {directory}/kubernetes",
        )


def deploy(
    export: str | Path,
    output: str | Path,
    *,
    target: Target,
    version: int | None = None,
    image: str | None = None,
    tf_serving_version: str | None = None,
    cpus: int = 2,
    replicas: int = 2,
    max_batch: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> DeployResult:
    """Write an image of TF Serving and what runs it; nothing is built or started.

    One version of the export's SavedModel is copied below `output`, with a Dockerfile, the configurations of TF Serving
    and Prometheus, and compose.yaml or the Kubernetes manifests.

    Args:
        export: An export directory.
        output: Directory to write. A directory that an earlier deploy wrote is replaced.
        target: Docker and compose, or Kubernetes.
        version: The version to copy; the newest if None.
        image: Name and tag of the image; `NAME:VERSION` if None.
        tf_serving_version: Tag of the image tensorflow/serving; the newest that is known to exist if None.
        cpus: Processors of a server, and its threads.
        replicas: Servers on Kubernetes at least.
        max_batch: Samples of different requests that run as one call at most, 1 for no batching; what fits the model if
            None.
        force: Replace files that were changed since an earlier deploy wrote them.
        progress: Called with what is being done.

    Raises:
        ArgumentError: if an argument is invalid, or there is no such export or version.
        GateError: if the SavedModel was changed since it was exported.
        StorageError: if `output` holds anything else, or the file system refuses.

    Example:
        >>> try:
        ...     deploy("nowhere", "deploy", target="docker")
        ... except ArgumentError as error:
        ...     print(error)
        export nowhere does not exist
    """
    from attnexport.docker import plan_deployment, render

    from .deploy_files import check_output, write_deployment
    from .versions import open_export

    output = check_path("output", output)
    directory, entry = open_export(export, version)
    saved_model = entry.artifact("saved_model")
    if saved_model is None:
        raise ArgumentError(f"version {entry.version} of {directory.root} has no SavedModel to deploy")
    plan = plan_deployment(
        target,
        directory.name,
        entry,
        saved_model,
        image=image,
        tf_serving_version=tf_serving_version,
        cpus=cpus,
        replicas=replicas,
        max_batch=max_batch,
    )
    check_output(output, force=force)
    progress("copying the model")
    files = write_deployment(output, render(plan), plan, directory.root, saved_model)
    return DeployResult(plan, output, tuple(files))
