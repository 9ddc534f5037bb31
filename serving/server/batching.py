"""Batching: requests that arrive together run as one call of the model.

Opt-in, with TF Serving's parameters. Requests are joined along the first dimension, per signature, wanted outputs and
the other dimensions. A signature whose declared shapes have no free first dimension runs alone.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attnexport.core.batches import fill_rows
from attnexport.core.errors import ArgumentError, check_size
from attnexport.core.signature import Array, Arrays, Signature

from .batch_checks import batch_size, check_batch, is_joinable
from .cancellation import Alive, abandoned
from .loading import LoadedModel
from .status import Code, StatusError, invalid

_LOOK = 0.05  # seconds, then it is looked whether the client still waits


@dataclass(frozen=True)
class BatchingOptions:
    """TF Serving's BatchingParameters, with the same names and defaults.

    Attributes:
        max_batch_size: The largest number of samples in a batch.
        batch_timeout_micros: How long the first request of a batch waits for others, in microseconds.
        max_enqueued_batches: How many batches may wait; further requests are refused (UNAVAILABLE).
        num_batch_threads: How many batches run at once.
        allowed_batch_sizes: A batch is filled up to the next of these; ascending, the last one the largest batch.
        pad_variable_length_inputs: Whether inputs of different sizes are padded to the largest.
        enable_large_batch_splitting: Whether a batch may be split over calls of the model.
        max_execution_batch_size: With splitting, the largest number of samples in one call of the model.

    Example:
        >>> BatchingOptions(max_batch_size=32, batch_timeout_micros=1000).max_model_batch
        32
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = 2
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
            check_size(name, getattr(self, name))
        check_size("batch_timeout_micros", self.batch_timeout_micros, least=0)
        sizes, largest = self.allowed_batch_sizes, self.max_model_batch
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != largest):
            raise ArgumentError(
                f"allowed_batch_sizes must be positive, ascend and end with {largest}; received {list(sizes)}"
            )
        if not 0 <= self.max_execution_batch_size <= self.max_batch_size:
            raise ArgumentError(
                f"max_execution_batch_size must be at most max_batch_size ({self.max_batch_size}); "
                f"received {self.max_execution_batch_size}"
            )

    @property
    def max_model_batch(self) -> int:
        """The largest batch that the model is given."""
        splits = self.enable_large_batch_splitting and self.max_execution_batch_size
        return self.max_execution_batch_size if splits else self.max_batch_size

    def padded(self, size: int) -> int:
        """The size that a batch is filled up to."""
        return next((each for each in self.allowed_batch_sizes if each >= size), size)


@dataclass(eq=False)
class _Task:
    inputs: Arrays
    size: int
    alive: Alive
    since: float = field(default_factory=time.monotonic)
    waited: float = 0.0
    done: threading.Event = field(default_factory=threading.Event)
    outputs: Arrays | None = None
    error: BaseException | None = None


@dataclass
class _Queue:
    signature: str
    outputs: tuple[str, ...]
    tasks: deque[_Task] = field(default_factory=deque)
    size: int = 0


class Batcher:
    """The queues of one loaded model, and the threads that empty them."""

    def __init__(self, model: LoadedModel, options: BatchingOptions) -> None:
        self._model, self._options = model, options
        self._queues: dict[tuple[Any, ...], _Queue] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True)
            for number in range(options.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(
        self,
        inputs: Arrays,
        signature: Signature,
        outputs: Sequence[str],
        alive: Alive,
        on_waited: Callable[[float], None] | None = None,
    ) -> Arrays:
        """Run one request together with others; `on_waited` is called with the seconds that it waited for them.

        Raises:
            StatusError: INVALID_ARGUMENT for one that no batch can hold, FAILED_PRECONDITION for outputs without the
                batch, UNAVAILABLE if the queue is full.
            Exception: what the model raises for this request alone.
        """
        size = batch_size(inputs)
        if not is_joinable(signature, outputs):
            return check_batch(self._model.run(inputs, signature.name, outputs), size)
        task = _Task(inputs, size, alive)
        most = self._options.max_batch_size
        if task.size > most:
            raise invalid(f"a request of {task.size} samples is larger than max_batch_size, {most}")
        self._enqueue(task, signature.name, tuple(outputs))
        while not task.done.wait(_LOOK):
            if not alive():
                break  # the workers drop it when they come to it
        if on_waited is not None:
            on_waited(task.waited)
        if task.outputs is None:
            raise task.error or abandoned()
        return task.outputs

    def close(self) -> None:
        """End the threads; the queues must be empty."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _enqueue(self, task: _Task, signature: str, outputs: tuple[str, ...]) -> None:
        shapes = tuple(sorted((name, self._grouped(array.shape[1:])) for name, array in task.inputs.items()))
        with self._changed:
            waiting = sum(each.size for each in self._queues.values() if each.signature == signature)
            room = self._options.max_enqueued_batches * self._options.max_batch_size
            if waiting + task.size > room:
                raise StatusError(
                    Code.UNAVAILABLE,
                    f"the batching queue of {signature!r} is full ({waiting} of {room} samples wait); try later",
                )
            queue = self._queues.setdefault((signature, outputs, shapes), _Queue(signature, outputs))
            queue.tasks.append(task)
            queue.size += task.size
            # For the others of a queue somebody waits already.
            if len(queue.tasks) == 1 or queue.size >= self._options.max_batch_size:
                self._changed.notify()

    def _grouped(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What requests of one batch have in common: all sizes, or their number where inputs are padded."""
        return (len(shape),) if self._options.pad_variable_length_inputs else shape

    def _work(self) -> None:
        while True:
            taken = self._take()
            if taken is None:
                return
            run_batch(self._model, self._options, *taken)

    def _take(self) -> tuple[str, tuple[str, ...], list[_Task]] | None:
        """The next batch: a full one, or one whose first request has waited long enough."""
        timeout = self._options.batch_timeout_micros / 1e6
        with self._changed:
            while True:
                now = time.monotonic()
                wait: float | None = None
                for key, queue in self._queues.items():
                    left = queue.tasks[0].since + timeout - now
                    if left <= 0 or queue.size >= self._options.max_batch_size or self._closed:
                        return self._batch_of(key)
                    wait = left if wait is None else min(wait, left)
                if self._closed:
                    return None
                self._changed.wait(wait)

    def _batch_of(self, key: tuple[Any, ...]) -> tuple[str, tuple[str, ...], list[_Task]]:
        queue = self._queues.pop(key)
        tasks, size = [], 0
        while queue.tasks and size + queue.tasks[0].size <= self._options.max_batch_size:
            tasks.append(queue.tasks.popleft())
            size += tasks[-1].size
        queue.size -= size
        if queue.tasks:
            self._queues[key] = queue  # at the end, so that others have their turn
            self._changed.notify()
        return queue.signature, queue.outputs, tasks


def run_batch(
    model: LoadedModel, options: BatchingOptions, signature: str, outputs: tuple[str, ...], tasks: list[_Task]
) -> None:
    """Run several requests as one; if that fails, run each alone, so that only a bad one fails."""
    begin = time.monotonic()
    for task in tasks:
        task.waited = begin - task.since
    for task in [each for each in tasks if not each.alive()]:
        tasks.remove(task)
        task.done.set()
    # What fails together is run alone below, where only the bad request fails again.
    with contextlib.suppress(Exception):
        if tasks and (len(tasks) > 1 or options.allowed_batch_sizes or options.enable_large_batch_splitting):
            _run_joined(model, options, signature, outputs, tasks)
    for task in tasks:
        if task.outputs is None:
            try:
                task.outputs = check_batch(model.run(task.inputs, signature, outputs), task.size)
            except BaseException as error:  # its own thread raises it
                task.error = error
        task.done.set()


def _run_joined(
    model: LoadedModel, options: BatchingOptions, signature: str, outputs: tuple[str, ...], tasks: list[_Task]
) -> None:
    joined = {name: _join([task.inputs[name] for task in tasks]) for name in tasks[0].inputs}
    total, most = sum(task.size for task in tasks), options.max_model_batch
    parts = []
    for start in range(0, total, most):
        size = min(most, total - start)
        chunk = {name: fill_rows(array[start : start + size], options.padded(size)) for name, array in joined.items()}
        given = model.run(chunk, signature, outputs)
        if any(array.shape[:1] != (options.padded(size),) for array in given.values()):
            return  # the outputs have no row for each row of the inputs; each request then fails with that
        parts.append({name: array[:size] for name, array in given.items()})
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    start = 0
    for task in tasks:
        task.outputs = {name: array[start : start + task.size] for name, array in whole.items()}
        start += task.size


def _join(arrays: list[Array]) -> Array:
    """Concatenate them; if the other dimensions differ, each is padded to the largest with its first element."""
    largest = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True))
    return np.concatenate([_padded(array, largest) for array in arrays])


def _padded(array: Array, sizes: tuple[int, ...]) -> Array:
    if array.shape[1:] == sizes or not array.size:
        return array
    whole = np.full((len(array), *sizes), array.reshape(-1)[0], array.dtype)
    whole[tuple(slice(size) for size in array.shape)] = array
    return whole
