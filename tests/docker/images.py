"""Builds the images and runs each as its own user: `make images`, with docker if it is there, else with buildah.

`--if-possible` takes buildah alone, and ends with one line where that cannot run anything on this machine.

With buildah nothing is pulled: debootstrap makes Debian with Python 3.11 under the name that the Dockerfiles ask for.
The image of TensorFlow Serving is a stand-in, the toolkit's with the embedded server as `tensorflow_model_server`. It
shows that the files of a deployment work together, not how TensorFlow Serving itself behaves.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attnexport.docker.tags import TAGS

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
USER = "10001"  # of every image
PYTHON, CLIENT, TOOLKIT, SERVING, DEPLOYED = (
    "python:3.11-slim", "attnexport-client", "attnexport", f"tensorflow/serving:{TAGS[0]}", "classifier:1",
)  # fmt: skip
START_SECONDS = 600.0
NEEDED_BYTES = 15 << 30

STAND_IN = f"""FROM {TOOLKIT}
USER 0:0
RUN printf '#!/bin/sh\\nexec attnexport serve "$@"\\n' > /usr/bin/tensorflow_model_server \\
    && chmod 755 /usr/bin/tensorflow_model_server
WORKDIR /
ENTRYPOINT []
CMD ["tensorflow_model_server"]
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
            self._call([*self._buildah, "commit", "-q", "--rm", container, tag])

    def run(self, tag: str, *words: str, work: Path | None = None, entrypoint: Sequence[str] = ("attnexport",)) -> str:
        """Run a command of an image as its user, and give what it prints."""
        with self.started(tag, *words, work=work, entrypoint=entrypoint) as process:
            out, err = process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"{tag}: {' '.join(words)} ended with {process.returncode}:\n{out}{err}")
        return out

    @contextmanager
    def started(
        self, tag: str, *words: str, work: Path | None = None, entrypoint: Sequence[str] = ()
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a command of an image, on this machine's network."""
        if self.is_docker:
            volume = ["-v", f"{work}:/work"] if work else []
            options = ["--rm", "--network", "host", "--read-only", "--tmpfs", "/tmp", *volume]
            line = ["docker", "run", *options, "--entrypoint", "", tag, *entrypoint, *words]
            container = ""
        else:
            container = self._call([*self._buildah, "from", "--pull-never", tag]).strip()
            volume = ["-v", f"{work}:/work"] if work else []
            line = [*self._buildah, "run", *volume, container, "--", *entrypoint, *words]
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
            if container:
                self._call([*self._buildah, "rm", container])

    def entrypoint(self, tag: str) -> list[str]:
        """The command line that an image runs by default."""
        import json

        if self.is_docker:
            [found] = json.loads(self._call(["docker", "image", "inspect", tag]))
            config = found["Config"]
        else:
            config = json.loads(self._call([*self._buildah, "inspect", "--type", "image", tag]))["OCIv1"]["config"]
        assert config["User"].partition(":")[0] == USER, config
        return [*config["Entrypoint"], *config.get("Cmd", [])]

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
    _say(f"{what} in {time.perf_counter() - begin:.0f} s")


def _say(text: str) -> None:
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


def client(engine: Engine, export: Path) -> None:
    """The client's image asks an embedded server."""
    import attnexport as ax

    engine.build(CLIENT, ROOT / "docker" / "client.Dockerfile", ROOT)
    assert engine.run(CLIENT, "-u", entrypoint=["id"]).strip() == USER
    with ax.serve(export, in_child=True) as server:
        address = server.grpc_address or ""
        assert "AVAILABLE" in engine.run(CLIENT, "status", "--server", address, "--model", export.name)
        assert "serving_default" in engine.run(CLIENT, "metadata", "--server", address, "--model", export.name)
    _say("the client's image asked a server")


def toolkit(engine: Engine, work: Path) -> None:
    """The toolkit's image exports, converts and inspects."""
    engine.build(TOOLKIT, ROOT / "docker" / "toolkit.Dockerfile", ROOT)
    assert engine.run(TOOLKIT, "-u", entrypoint=["id"]).strip() == USER
    work.mkdir()
    work.chmod(0o777)
    with timed("exported and converted in the toolkit's image"):
        engine.run(TOOLKIT, "savedmodel", "--pooling", "average", "--name", "classifier", "-o", "/work", work=work)
        engine.run(TOOLKIT, "tflite", "/work/classifier", "-q", "int8", work=work)
    file = work / "classifier" / "tflite" / "1" / "classifier.int8.tflite"
    assert file.stat().st_uid == int(USER) or engine.is_docker
    assert "XNNPACK" in engine.run(TOOLKIT, "inspect", f"/work/{file.relative_to(work)}", work=work)


def deployed(engine: Engine, export: Path, folder: Path) -> None:
    """What deploy writes is built and served; it is healthy, predicts, and ends on SIGTERM."""
    import numpy as np

    import attnexport as ax

    if not engine.is_docker:
        (folder / "stand-in").mkdir(parents=True)
        (folder / "stand-in" / "Dockerfile").write_text(STAND_IN)
        engine.build(SERVING, folder / "stand-in" / "Dockerfile", folder / "stand-in")
    ax.deploy(export, folder / "deployment", target="docker", image=DEPLOYED)
    engine.build(DEPLOYED, folder / "deployment" / "Dockerfile", folder / "deployment")
    health = ["/bin/bash", str(folder / "deployment" / "health.sh")]
    with engine.started(DEPLOYED, *engine.entrypoint(DEPLOYED)) as server:
        end = time.monotonic() + START_SECONDS
        while not _works(health):
            if server.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the deployed image does not serve: {server.communicate()}")
            time.sleep(1)
        _say("health.sh succeeds")
        with ax.Client("127.0.0.1:8500", model=export.name) as model:
            outputs = model.predict({"sequence": np.ones((2, 10, 64), np.float32)})
        assert np.isfinite(outputs["logits"]).all()
        [process] = [pid for pid in descendants(server.pid) if _is_server(pid)][-1:]
        uid = (Path("/proc") / str(process)).stat().st_uid
        assert uid == int(USER), uid
        begin = time.monotonic()
        os.kill(process, signal.SIGTERM)
        code = server.wait(60)
        _say(f"it predicted as user {uid}, and ended {time.monotonic() - begin:.1f} s after SIGTERM with {code}")
        assert code == 0


def _is_server(pid: int) -> bool:
    try:
        return b"--model_config_file" in (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False


def _is_taken(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _works(words: Sequence[str]) -> bool:
    try:
        return subprocess.run(words, capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _pip_files() -> list[str]:
    """Pip's settings on this machine, and the certificates and folders that they name; a build needs them."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    named = [word.removeprefix("file://") for line in listed.splitlines() for word in line.split("'")[1::2]]
    words = [each.removeprefix("file://") for word in named for each in word.split()]
    files = ["/etc/pip.conf", "/etc/xdg/pip", "/etc/resolv.conf", *words]
    return sorted({each for each in files if each.startswith("/") and os.path.exists(each)})


def main() -> None:
    """Build and run everything; ends with a message where something fails."""
    if_possible = sys.argv[1:] == ["--if-possible"]
    is_docker = not if_possible and _works(["docker", "info"])
    with tempfile.TemporaryDirectory(prefix="attnexport-images-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        engine = Engine(folder, is_docker=is_docker)
        if not is_docker and (problem := engine.problem(folder / "probe")):
            if not if_possible:
                raise SystemExit(f"docker does not work, and {problem}")
            _say(f"images are not built: {problem}")
            return
        try:
            engine.base(PYTHON, folder / "debian")
        except SystemExit as error:
            if not if_possible:
                raise
            _say(f"images are not built: {str(error).strip().splitlines()[-1]}")
            return
        from attnexport.exporter import PresetConfig
        from attnexport.workflows.export import export_saved_model

        export = export_saved_model(PresetConfig(pooling="average"), folder / "export").directory
        client(engine, export)
        toolkit(engine, folder / "work")
        deployed(engine, export, folder)
        _say(engine.sizes())


if __name__ == "__main__":
    main()
