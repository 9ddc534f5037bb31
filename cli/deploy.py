"""`attnexport deploy`: an export as an image of TF Serving, with all that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from attnexport.workflows import deploy as workflow

from .command import Choice, command
from .terminal import Terminal


@command("deploy", example="attnexport deploy export/classifier --target kubernetes --output deploy")
@click.argument("export", type=click.Path(path_type=Path))
@click.option(
    "--target", type=Choice("target", get_args(workflow.Target)), required=True, help="Docker compose or Kubernetes."
)
@click.option("--output", metavar="DIR", required=True, type=click.Path(path_type=Path), help="Directory to write.")
@click.option("--version", metavar="N", type=int, help="Version to copy into the image. [the newest]")
@click.option("--image", metavar="NAME:TAG", help="Name of the image. [NAME:VERSION]")
@click.option(
    "--tf-serving-version",
    metavar="TAG",
    help="Tag of the tensorflow/serving image. [the newest that is known to exist]",
)
@click.option("--cpus", metavar="N", type=int, default=2, show_default=True, help="Processors and threads per server.")
@click.option("--replicas", metavar="N", type=int, default=2, show_default=True, help="Fewest servers (Kubernetes).")
@click.option(
    "--max-batch",
    metavar="N",
    type=int,
    help="Most samples joined into one call; 1 turns batching off. [what fits the model, if it has a batch]",
)
@click.option("--force", is_flag=True, help="Replace files that were changed since an earlier deploy wrote them.")
def deploy(
    terminal: Terminal,
    /,
    *,
    export: Path,
    target: workflow.Target,
    output: Path,
    version: int | None,
    image: str | None,
    tf_serving_version: str | None,
    cpus: int,
    replicas: int,
    max_batch: int | None,
    force: bool,
) -> None:
    """Write the files that run an export on TF Serving.

    EXPORT is an export directory. One version of its SavedModel is copied below DIR, with a Dockerfile, the
    configurations of TF Serving and Prometheus, and compose.yaml or the Kubernetes manifests. Nothing is built or
    started.
    """
    with terminal.working() as progress:
        result = workflow.deploy(
            export,
            output,
            target=target,
            version=version,
            image=image,
            tf_serving_version=tf_serving_version,
            cpus=cpus,
            replicas=replicas,
            max_batch=max_batch,
            force=force,
            progress=progress,
        )
    terminal.show(result)
