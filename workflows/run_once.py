"""Runs an artifact in a child process, for the memory it takes."""

from __future__ import annotations

from contextlib import closing

from attnexport.core.process import peak_memory_bytes
from attnexport.core.user_modules import ModuleFile, load_modules
from attnexport.store.trust import trusting

from .artifacts import ArtifactPath, bind_threads, open_runner
from .benchmark_inputs import Call


def run_once(artifact: ArtifactPath, call: Call, threads: int, modules: tuple[ModuleFile, ...]) -> int:
    """Load an artifact, run it once, and return the peak memory of this process in bytes.

    Args:
        artifact: What to run; its modules are loaded from `modules`.
        call: The call to make.
        threads: Threads to run on.
        modules: Modules that register custom layers.
    """
    load_modules(modules)
    if artifact.kind != "tflite":  # TensorFlow would be most of the memory
        bind_threads(threads)
    with trusting(), closing(open_runner(artifact, threads=threads)) as runner:  # whoever calls this has read it
        runner.run(call.inputs(runner.signatures), call.signature)
    return peak_memory_bytes()
