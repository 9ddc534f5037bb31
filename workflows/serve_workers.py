"""`serve --workers`: several processes that serve on the same ports, watched by this one."""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from attnexport.core.child_process import Child
from attnexport.core.errors import ArgumentError, AttnexportError, ContentError, ProcessError
from attnexport.core.progress import Progress, silent

from .serve_plan import ServePlan
from .serve_share import Share
from .served import EmbeddedServer, ServeResult

_MAX_SECONDS = 3600.0  # of loading or draining
_LOOK_SECONDS = 0.5  # from one look at a worker to the next
_ANSWER_SECONDS = 30.0  # after which a worker that says nothing is replaced
_LEAVE_SECONDS = 5.0  # for a look that is under way, when the server ends
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before a worker that keeps dying is started again
_WARNING = "warning: "
_STABLE_SECONDS = 60.0  # a worker that ran for so long starts anew with the first pause


class WorkerServers(EmbeddedServer):
    """A server of several processes. What happens in them is told with the number of the worker."""

    def __init__(self, plan: ServePlan, on_event: Callable[[str], None]) -> None:
        from attnexport.serving.server.edges import reserve
        from attnexport.serving.server.rest_edge import open_rest

        from .serve_options import server_options
        from .serve_sources import model_source

        _check(plan)
        settings = plan.settings
        model_source(plan.export, settings)  # what cannot be served is refused here, not in every worker
        options = server_options(settings, port=plan.port, rest_port=plan.rest_port)
        host = f"[{options.host}]" if ":" in options.host else options.host
        self._ending = threading.Event()
        self._state: ServeResult | None = None
        with ExitStack() as stack:
            reserved = stack.enter_context(reserve(options.host, options.port or 0))
            grpc_port, rest_fd = int(reserved.getsockname()[1]), None
            self.grpc_address = f"{host}:{grpc_port}"
            if options.rest_port is not None:
                listening = stack.enter_context(open_rest(options.host, options.rest_port))
                rest_fd = listening.fileno()
                self.rest_address = f"http://{host}:{listening.getsockname()[1]}"
            self._sockets = stack.pop_all()
        self._metrics = tempfile.TemporaryDirectory(prefix=f"attnexport-workers-{os.getpid()}-")
        share = Share(settings.workers, grpc_port, rest_fd, self._metrics.name)
        self._plan = replace(plan, port=grpc_port, rest_port=None, settings=replace(settings, workers=1))
        self._workers = [_Worker(number, self._plan, share, on_event) for number in range(1, settings.workers + 1)]

    def start(self, progress: Progress = silent, *, own_process: bool = True) -> None:
        plan = self._plan.for_child()
        for each in self._workers:
            each.plan = plan
        progress("loading models")
        first, *others = self._workers
        self._state = first.start()  # alone: what it packs the others map
        with ThreadPoolExecutor(len(others)) as pool:
            try:
                list(pool.map(_Worker.start, others))
            except BaseException:  # an interrupt, too: nobody waits for the others
                for each in self._workers:
                    each.kill()
                raise
        for each in self._workers:
            each.watch(self._ending)

    def close(self) -> bool:
        self._ending.set()
        for each in self._workers:
            each.end_watch()
        self._sockets.close()  # or connections would wait here when no worker takes them any more
        with ThreadPoolExecutor(len(self._workers)) as pool:
            ended = list(pool.map(_Worker.close, self._workers))
        self._metrics.cleanup()
        return all(ended)

    def state(self) -> ServeResult:
        """As the first worker was when it started."""
        return self._state or ServeResult(self.grpc_address, self.rest_address, ())

    @property
    def pids(self) -> list[int | None]:
        """The processes of the workers."""
        return [each.pid for each in self._workers]


class _Worker:
    """One of the processes: starts it, tells what happens in it, and starts it again when it dies."""

    def __init__(self, number: int, plan: ServePlan, share: Share, on_event: Callable[[str], None]) -> None:
        self.plan = plan
        self._number, self._share, self._on_event = number, share, on_event
        inherited = () if share.rest_fd is None else (share.rest_fd,)
        self._child = Child(running="the server", timeout=_MAX_SECONDS, inherited=inherited)
        self._is_starting = False
        self._watching: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def start(self) -> ServeResult:
        self._is_starting = True
        try:
            state = self._child.enter(_serving, self.plan, self._share, self._number)
            self._look()
        except ProcessError as error:
            raise ContentError(f"a worker of the server did not start: {error}") from error
        finally:
            self._is_starting = False
        return state

    def watch(self, ending: threading.Event) -> None:
        """Tell what happens in it, and start it again when it dies, until the event is set."""
        self._watching = threading.Thread(target=self._watch, args=(ending,), name="worker", daemon=True)
        self._watching.start()

    def end_watch(self) -> None:
        """Leave it to the caller alone."""
        if self._watching is not None:
            if not self._is_starting:
                self._watching.join(_LEAVE_SECONDS)
            if self._watching.is_alive():  # it starts, which may take long, or is stuck
                self.kill()
            self._watching.join()

    def kill(self) -> None:
        """End it at once, from any thread."""
        self._child.kill()

    def close(self) -> bool:
        """Drain it, then end it; whether all its calls ended."""
        try:
            if self._child.pid is None:
                return True
            has_ended, events = self._child.call(_drain)
            self._tell(events)
        except AttnexportError as error:
            self._say(f"{_WARNING}{error}")
            return False
        else:
            return has_ended
        finally:
            self._child.close()

    def _watch(self, ending: threading.Event) -> None:
        pause, since = _FIRST_PAUSE, time.monotonic()
        while not ending.wait(_LOOK_SECONDS):
            try:
                if self._child.pid is None:
                    self.start()
                    since = time.monotonic()
                    self._say("it serves again")
                self._look()
            except (AttnexportError, OSError, RuntimeError) as error:  # no process or thread can be had
                self._child.close()  # where it refused, it still runs
                if ending.is_set():
                    return
                if time.monotonic() - since > _STABLE_SECONDS:
                    pause = _FIRST_PAUSE
                since = math.inf
                self._say(f"{_WARNING}{error}; it is started again in {pause:g} s")
                ending.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _look(self) -> None:
        """Tell what has happened in it since the last look; one that says nothing has no hour, as loading does."""
        self._child.timeout = _ANSWER_SECONDS
        try:
            self._tell(self._child.call(_events))
        finally:
            self._child.timeout = _MAX_SECONDS

    def _tell(self, events: Sequence[str]) -> None:
        for event in events:
            self._say(event)

    def _say(self, event: str) -> None:
        kind = _WARNING if event.startswith(_WARNING) else ""
        self._on_event(f"{kind}worker {self._number}: {event.removeprefix(_WARNING)}")


def _check(plan: ServePlan) -> None:
    """Refuse what several processes cannot do together.

    Raises:
        ArgumentError: naming it.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ArgumentError("--workers needs a system whose processes can share a port, such as Linux; leave it out")
    if plan.settings.grpc_socket_path or plan.port == 0:
        raise ArgumentError(
            "--grpc_socket_path and --workers exclude each other, since only one process can listen on a Unix socket; "
            "give --port, or one worker"
        )


# What follows runs in the workers.
_EVENTS: list[str] = []
_SERVERS: list[EmbeddedServer] = []


@contextmanager
def _serving(plan: ServePlan, share: Share, number: int) -> Iterator[ServeResult]:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = share.metrics  # before prometheus_client is imported
    parent = os.getppid()
    from attnexport.serving.server.metrics import count_as

    from .embedded import LocalServer

    count_as(number)

    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it may go to every process of a service: the parent drains this one
    server = LocalServer(plan, _EVENTS.append, share=share)
    _SERVERS.append(server)
    try:
        server.start(own_process=True)
        yield server.state()
    finally:
        server.close()
        if os.getppid() != parent:  # it was killed, and would have removed them
            shutil.rmtree(share.metrics, ignore_errors=True)


def _events() -> list[str]:
    """What has happened since the last call."""
    events = list(_EVENTS)
    del _EVENTS[: len(events)]  # threads may have added more
    return events


def _drain() -> tuple[bool, list[str]]:
    """Stop the server once its requests are done; whether all were, and what has happened meanwhile."""
    [server] = _SERVERS
    return server.close(), _events()
