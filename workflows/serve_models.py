"""The models the embedded server loads: a SavedModel in a session, a .tflite in LiteRT."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from attnexport.core import Arrays, Runner, Signature, batched
from attnexport.serving.server import Code, LoadedModel, StatusError
from attnexport.serving.server.loading import signature_definitions

if TYPE_CHECKING:
    from attnexport.tflite.probe import RunCheck

TFLITE_FILE = "model.tflite"  # as TF Serving names it in a version's directory


class RunnerModel:
    """Runners of one file, each of which runs one request at a time; a fixed batch is fed in chunks."""

    runtime, strict_shapes = "TFLite", True
    is_steady = False  # a call waits for a free runner
    defaults: Mapping[str, Arrays] = {}

    def __init__(self, runners: Sequence[Runner]) -> None:
        self._runners = runners
        self._free: queue.SimpleQueue[Runner] = queue.SimpleQueue()
        for runner in runners:
            self._free.put(runner)
        self._fixed = {name: each.fixed_batch for name, each in runners[0].signatures.items()}
        self.signatures: Mapping[str, Signature] = _with_free_batch(runners[0].signatures)
        self.definitions = signature_definitions(self.signatures)

    def run(self, inputs: Arrays, signature: str, outputs: Sequence[str]) -> Arrays:
        sizes = {array.shape[:1] for array in inputs.values()}
        if self.signatures[signature].is_batched and (len(sizes) > 1 or sizes == {(0,)}):
            counts = ", ".join(f"{name} {len(array)}" for name, array in sorted(inputs.items()))
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"the inputs hold no samples or different numbers of samples ({counts}); send the same number",
            )
        runner = self._free.get()
        try:
            if sizes == {(self._fixed[signature],)}:  # the usual call, without the cost of chunks
                results = runner.run(inputs, signature)
            else:
                results = batched(runner, inputs, signature=signature)
        finally:
            self._free.put(runner)
        return {name: results[name] for name in outputs} if outputs else results

    def warmup_records(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        for runner in self._runners:
            runner.close()


def _with_free_batch(signatures: Mapping[str, Signature]) -> dict[str, Signature]:
    """The signatures for clients: any batch will do, since a fixed batch is fed in chunks."""
    return {
        name: each.with_free_batch() if each.is_batched and each.fixed_batch is not None else each
        for name, each in signatures.items()
    }


@dataclass(frozen=True)
class ArtifactLoader:
    """Finds and loads SavedModels and .tflite files.

    Attributes:
        prefer_tflite: Serve `model.tflite` if a version's directory has one.
        tags: Tags of the graph in a SavedModel.
        interpreters: Requests that a .tflite runs at once.
        intra_op_threads: Threads of a session within an operator.
        inter_op_threads: Threads of a session that run operators side by side.
        trust: Run SavedModels even if they were made elsewhere and do more than compute.
    """

    prefer_tflite: bool = False
    tags: tuple[str, ...] = ("serve",)
    interpreters: int = 1
    intra_op_threads: int = 1
    inter_op_threads: int = 1
    trust: bool = False

    def find(self, directory: Path, artifact: str | None) -> Path | None:
        """What to serve from a version's directory; None if it does not have the artifact."""
        if artifact is None and self.prefer_tflite and (directory / TFLITE_FILE).is_file():
            artifact = TFLITE_FILE
        if artifact is not None:
            return directory / artifact if (directory / artifact).is_file() else None
        return directory

    def load(self, path: Path) -> LoadedModel:
        """Load a path that `find` returned; a .tflite only after a child process has run it, as damage may crash it."""
        if path.is_dir():
            from attnexport.exporter import ServedSavedModel

            return ServedSavedModel(path, self.tags, self.intra_op_threads, self.inter_op_threads, trust=self.trust)
        _run_check()(path, by_tensors=True)
        open_tflite = import_module("attnexport.tflite").open_tflite  # loads LiteRT, only if a .tflite is served
        return RunnerModel([open_tflite(path, by_tensors=True) for _ in range(self.interpreters)])


@cache
def _run_check() -> RunCheck:
    """One for this process: the versions that a scan finds share its child."""
    from attnexport.tflite.probe import RunCheck

    return RunCheck()
