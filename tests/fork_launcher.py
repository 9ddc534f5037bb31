"""What runs as `python` or `attnexport` in tests/forks.py, which adds the line that calls `main`."""

import contextlib
import json
import os
import resource
import signal
import socket
import sys

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def main(address):
    """Have the server at this address run what this process was started for, and end as that does."""
    # Python's own descriptors are not inherited, those that a process was started with are.
    descriptors = [number for number in map(int, os.listdir("/proc/self/fd")) if _is_inherited(number)]
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
    request = {
        "program": os.path.basename(sys.argv[0]),
        "arguments": sys.argv[1:],
        "cwd": os.getcwd(),
        "env": dict(os.environ),
        "umask": os.umask(0),
        "limits": limits,
        "descriptors": descriptors,
        "ignored": [number for number in _PASSED_ON if signal.getsignal(number) == signal.SIG_IGN],
    }
    server = socket.socket(socket.AF_UNIX)
    server.connect(address)
    content = json.dumps(request).encode()
    socket.send_fds(server, [len(content).to_bytes(8, "big")], descriptors)
    server.sendall(content)
    replies = server.makefile("r")
    pid = int(replies.readline())
    for number in _PASSED_ON:
        signal.signal(number, lambda received, _: _pass_on(pid, received))
    status = int(replies.readline())
    if status < 0:
        if -status in _PASSED_ON:
            signal.signal(-status, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), -status)
        signal.pause()
    os._exit(status)


def _pass_on(pid, number):
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(pid, number)


def _is_inherited(number):
    try:
        return os.get_inheritable(number)
    except OSError:  # the one that listed them
        return False
