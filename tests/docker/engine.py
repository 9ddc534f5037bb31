"""What builds and runs images: docker, or buildah where there is no daemon."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

USER = "10001"  # of every image
NEEDED_BYTES = 15 << 30
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LIMITS = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"]  # as compose.yaml has them
# In place of `buildah run`, whose root can be written to. In a mount namespace of its own.
_RUN = """set -e
root=$1 folder=$2 work=$3 memory=$4 user=$5; shift 5
touch "$root/etc/hosts"
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind /etc/hosts "$root/etc/hosts"
[ -z "$memory" ] || mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
[ -z "$work" ] || mount --bind "$work" "$root/work"
exec chroot "$root" /usr/bin/setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs --inh-caps=-all \\
  --bounding-set=-all /bin/sh -c 'cd "$0" && exec "$@"' "$folder" "$@"
"""


class Engine:
    """What builds and runs images: buildah without a daemon, or docker.

    Args:
        storage: A directory for buildah's images.
        is_docker: Whether it is docker.
    """

    def __init__(self, storage: Path, *, is_docker: bool) -> None:
        self.is_docker = is_docker
        self._environment = {**os.environ, "BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}
        self._buildah = ["buildah", "--root", str(storage / "root"), "--runroot", str(storage / "run")]

    def problem(self, folder: Path) -> str | None:
        """Why buildah can run nothing on this machine; None if it can."""
        if os.geteuid() != 0:
            return "that takes root"
        if missing := [name for name in ("buildah", "debootstrap") if not shutil.which(name)]:
            return f"not installed: {', '.join(missing)}"
        if (free := shutil.disk_usage(folder.parent).free) < NEEDED_BYTES:
            return f"{NEEDED_BYTES >> 30} GiB are needed in {folder.parent}, and {free >> 30} are free"
        if taken := [port for port in (8500, 8501) if _is_taken(port)]:
            return f"port {taken[0]} is taken"
        listed = subprocess.run(["ldd", "/bin/true"], capture_output=True, text=True, check=False).stdout
        for path in ("/bin/true", *(word for word in listed.split() if word.startswith("/"))):
            (folder / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / path[1:])
        try:
            container = self._call([*self._buildah, "from", "scratch"]).strip()
            self._call([*self._buildah, "copy", "-q", container, str(folder), "/"])
            self._call([*self._buildah, "run", container, "--", "/bin/true"])
            self._call([*self._buildah, "rm", container])
        except SystemExit as error:
            return f"buildah can run nothing here: {str(error).strip().splitlines()[-1]}"
        return None

    def build(self, tag: str, file: Path, context: Path) -> None:
        """Build an image."""
        with timed(f"built {tag}"):
            if self.is_docker:
                self._call(["docker", "build", "-q", "-t", tag, "-f", str(file), str(context)])
                return
            volumes = [word for path in _pip_files() for word in ("-v", f"{path}:{path}:ro")]
            words = [*self._buildah, "bud", "--pull-never", "--format", "docker", *volumes]
            self._call([*words, "-t", tag, "-f", str(file), str(context)])

    def base(self, tag: str, folder: Path) -> None:
        """Make Debian with Python, for buildah."""
        if self.is_docker:
            return
        with timed(f"made {tag}"):
            packages = "python3,python3-venv,python3-pip,ca-certificates"
            self._call(["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(folder)])
            (folder / "usr" / "local" / "bin" / "python").symlink_to("/usr/bin/python3")
            shutil.rmtree(folder / "var" / "cache" / "apt", ignore_errors=True)
            container = self._call([*self._buildah, "from", "scratch"]).strip()
            self._call([*self._buildah, "copy", "-q", container, str(folder), "/"])
            self._call([*self._buildah, "config", "--env", f"PATH={_PATH}", container])
            self._call([*self._buildah, "commit", "-q", "--rm", container, tag])

    def run(self, tag: str, *words: str, entrypoint: Sequence[str] = ("attnexport",), **options: Any) -> str:
        """Run a command of an image as `started` does, and give what it prints."""
        with self.started(tag, *words, entrypoint=entrypoint, **options) as process:
            out, err = process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"{tag}: {' '.join(words)} ended with {process.returncode}:\n{out}{err}")
        return out

    @contextmanager
    def started(
        self,
        tag: str,
        *words: str,
        work: Path | None = None,
        entrypoint: Sequence[str] = (),
        user: str | None = None,
        has_tmp: bool = True,
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a command of an image on this machine's network, without capabilities and with a read-only root.

        Args:
            tag: The image.
            words: The arguments of the command.
            work: A directory that is mounted as /work.
            entrypoint: The command.
            user: The number of a user and group in place of the image's own.
            has_tmp: Whether /tmp is in memory; it cannot be written to otherwise.
        """
        if self.is_docker:
            volume = ["-v", f"{work}:/work"] if work else []
            memory = ["--tmpfs", "/tmp"] if has_tmp else []
            other = ["--user", f"{user}:{user}"] if user else []
            container = f"attnexport-images-{os.getpid()}"
            options = ["--rm", "--init", "--name", container, "--network", "host", "--read-only", *_LIMITS]
            line = ["docker", "run", *options, *other, *memory, *volume, "--entrypoint", "", tag, *entrypoint, *words]
        else:
            container = self._call([*self._buildah, "from", "--pull-never", tag]).strip()
            root = self._call([*self._buildah, "mount", container]).strip()
            config = self._config(tag)
            user = user or config["User"].partition(":")[0]
            place = [root, config.get("WorkingDir") or "/", str(work or ""), "1" if has_tmp else "", user]
            environment = ["/usr/bin/env", "-i", *(config.get("Env") or [])]
            line = ["unshare", "--mount", "/bin/sh", "-c", _RUN, "sh", *place, *environment, *entrypoint, *words]
        process = subprocess.Popen(
            line, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            yield process
        finally:
            for pid in descendants(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.kill()
            process.wait()
            if self.is_docker:  # whose containers outlive the command that started them
                subprocess.run(["docker", "rm", "-f", container], capture_output=True, check=False)
            else:
                self._call([*self._buildah, "rm", container])

    def main_process(self, started: subprocess.Popen[str]) -> int:
        """The process of a command that `started` gives: docker's init, or what has taken the place of the shell."""
        if not self.is_docker:
            return started.pid
        return int(self._call(["docker", "inspect", "-f", "{{.State.Pid}}", f"attnexport-images-{os.getpid()}"]))

    def entrypoint(self, tag: str) -> list[str]:
        """The command line that an image runs by default."""
        config = self._config(tag)
        assert config["User"].partition(":")[0] == USER, config
        return [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]

    def _config(self, tag: str) -> dict[str, Any]:
        """What an image says of its command, user and environment."""
        config: dict[str, Any]
        if self.is_docker:
            [found] = json.loads(self._call(["docker", "image", "inspect", tag]))
            config = found["Config"]
        else:
            config = json.loads(self._call([*self._buildah, "inspect", "--type", "image", tag]))["OCIv1"]["config"]
        return config

    def sizes(self) -> str:
        """The sizes of all images."""
        template = "{{.Name}}:{{.Tag}} {{.Size}}"
        if self.is_docker:
            return self._call(["docker", "images", "--format", template.replace("Name", "Repository")])
        return self._call([*self._buildah, "images", "--format", template])

    def _call(self, words: Sequence[str]) -> str:
        done = subprocess.run(words, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
        return done.stdout


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long something took."""
    begin = time.perf_counter()
    yield
    say(f"{what} in {time.perf_counter() - begin:.0f} s")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and theirs."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):  # it has ended
            continue
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def _is_taken(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _pip_files() -> list[str]:
    """Pip's settings on this machine, and the certificates and folders that they name; a build needs them."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    named = [word.removeprefix("file://") for line in listed.splitlines() for word in line.split("'")[1::2]]
    words = [each.removeprefix("file://") for word in named for each in word.split()]
    files = ["/etc/pip.conf", "/etc/xdg/pip", "/etc/resolv.conf", *words]
    return sorted({each for each in files if each.startswith("/") and os.path.exists(each)})
