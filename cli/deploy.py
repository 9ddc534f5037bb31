"""`attnexport deploy`: an export as an image of TF Serving, with all that runs it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnexport.core.errors import ArgumentError

from .command import Choice, command
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.docker import Deployment

_TARGETS = ("docker", "kubernetes")


@command("deploy", example="attnexport deploy export/classifier --target kubernetes --output deploy")
@click.argument("export", type=click.Path(path_type=Path))
@click.option("--target", type=Choice("target", _TARGETS), required=True, help="Docker and compose, or Kubernetes.")
@click.option("--output", metavar="DIR", required=True, type=click.Path(path_type=Path), help="Where the files go.")
@click.option("--version", type=int, help="The version to bake in. [the newest]")
@click.option("--image", metavar="NAME:TAG", help="The image's name. [NAME:VERSION]")
@click.option(
    "--tf-serving-version", metavar="TAG", help="Of tensorflow/serving. [the TensorFlow that wrote the export]"
)
@click.option("--cpus", type=int, default=2, show_default=True, help="Processors of a server, and its threads.")
@click.option("--replicas", type=int, default=2, show_default=True, help="The least number of servers on Kubernetes.")
@click.option("--max-batch", type=int, help="The most samples joined to one call; 1: none. [what fits the model]")
@click.option("--force", is_flag=True, help="Replace files of an earlier deploy that were changed since.")
def deploy(terminal: Terminal, /, **options: Any) -> None:
    """Write an image of TF Serving and what runs it.

    EXPORT is an export directory. One version of its SavedModel is copied below DIR, with a Dockerfile, TF Serving's
    configuration, Prometheus's, and compose.yaml or the manifests of Kubernetes. Nothing is built or started.
    """
    from attnexport.docker import plan_deployment, render
    from attnexport.store import ExportDirectory
    from attnexport.store.manifest import FILE_NAME

    from .deploy_files import check_output, write_deployment

    if not (options["export"] / FILE_NAME).exists():
        raise ArgumentError(f"{options['export']} is no export directory (no {FILE_NAME})")
    directory = ExportDirectory(options["export"])
    version = options["version"]
    entry = directory.newest() if version is None else directory.manifest().entry(version)
    saved_model = entry.artifact("saved_model")
    if saved_model is None:
        raise ArgumentError(f"version {entry.version} of {directory.root} has no SavedModel to deploy")
    passed_on = ("image", "tf_serving_version", "cpus", "replicas", "max_batch")
    plan = plan_deployment(
        options["target"], directory.name, entry, saved_model, **{key: options[key] for key in passed_on}
    )
    output = options["output"]
    check_output(output, force=options["force"])
    with terminal.steps() as on_step:
        on_step("copying the model")
        files = write_deployment(output, render(plan), plan, directory.root, saved_model)
    document = {**asdict(plan), "directory": str(output), "files": files}
    terminal.result(document, lambda console: _show(console, plan, output, files))


def _show(console: Console, plan: Deployment, output: Path, files: list[str]) -> None:
    from rich.text import Text

    batches = f"batches of up to {plan.batch_sizes[-1]}" if plan.batch_sizes else "no batching"
    console.print(Text(f"{output}: {plan.name} version {plan.version} on TF Serving {plan.tf_serving_version}"))
    console.print(Text(f"{plan.cpus} processors, {plan.memory_mib} MiB, {batches}\n"))
    for file in files:
        console.print(Text(f"  {file}"), soft_wrap=True)
    console.print(Text("\nNext:"))
    if plan.target == "docker":
        lines = [f"docker compose --project-directory {output} up --build"]
    else:
        lines = [
            f"docker build -t {plan.image} {output} && docker push {plan.image}",
            f"kubectl apply -k {output}/kubernetes",
        ]
    for line in lines:
        console.print(Text(f"  {line}"), soft_wrap=True)
