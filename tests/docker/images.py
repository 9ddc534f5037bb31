"""Builds the images and runs each as its own user: `make images`, with docker if it is there, else with buildah.

`--if-possible` takes buildah alone, and ends with one line where that cannot run anything on this machine.

Each runs as compose.yaml has it: with a read-only root, /tmp in memory, and no capabilities.

With buildah nothing is pulled: debootstrap makes Debian with Python 3.11 under the name that the Dockerfiles ask for.
The image of TensorFlow Serving is a stand-in, the toolkit's with the embedded server as `tensorflow_model_server`. It
shows that the files of a deployment work together, not how TensorFlow Serving itself behaves.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from attnexport.docker.tags import TAGS
from tests.docker.engine import USER, Engine, say, timed

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
PYTHON, CLIENT, TOOLKIT, SERVING, DEPLOYED = (
    "python:3.11-slim", "attnexport-client", "attnexport", f"tensorflow/serving:{TAGS[0]}", "classifier:1",
)  # fmt: skip
START_SECONDS = 600.0
OTHER_USER = 12345  # as `docker run --user` names one

STAND_IN = f"""FROM {TOOLKIT}
USER 0:0
RUN printf '#!/bin/sh\\nexec attnexport serve "$@"\\n' > /usr/bin/tensorflow_model_server \\
    && chmod 755 /usr/bin/tensorflow_model_server
WORKDIR /
ENTRYPOINT []
CMD ["tensorflow_model_server"]
"""


def client(engine: Engine, export: Path) -> None:
    """The client's image asks an embedded server."""
    import attnexport as ax

    engine.build(CLIENT, ROOT / "docker" / "client.Dockerfile", ROOT)
    assert engine.run(CLIENT, "-u", entrypoint=["id"]).strip() == USER
    assert "Read-only" in engine.run(
        CLIENT, "-c", "touch /opt/x 2>&1 || touch /tmp/x 2>&1 || true", entrypoint=["sh"], has_tmp=False
    )
    with ax.serve(export, in_child=True) as server:
        address = server.grpc_address or ""
        model = ("--server", address, "--model", export.name)
        assert "AVAILABLE" in engine.run(CLIENT, "status", *model, has_tmp=False)
        assert "serving_default" in engine.run(CLIENT, "metadata", *model, has_tmp=False)
    say("the client's image asked a server")


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
    shutil.chown(work, OTHER_USER, OTHER_USER)
    work.chmod(0o755)
    engine.run(
        TOOLKIT, "savedmodel", "--pooling", "average", "--name", "mine", "-o", "/work", work=work, user=str(OTHER_USER)
    )
    assert (work / "mine" / "saved_model" / "1").stat().st_uid == OTHER_USER or engine.is_docker
    say("the toolkit's image exported for another user")


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
        say("health.sh succeeds")
        with ax.Client("127.0.0.1:8500", model=export.name) as model:
            outputs = model.predict({"sequence": np.ones((2, 10, 64), np.float32)})
        assert np.isfinite(outputs["logits"]).all()
        process = engine.main_process(server)
        uid = (Path("/proc") / str(process)).stat().st_uid
        assert uid == int(USER), uid
        begin = time.monotonic()
        os.kill(process, signal.SIGTERM)
        code = server.wait(60)
        say(f"it predicted as user {uid}, and ended {time.monotonic() - begin:.1f} s after SIGTERM with {code}")
        assert code == 0


def _works(words: Sequence[str]) -> bool:
    try:
        return subprocess.run(words, capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


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
            say(f"images are not built: {problem}")
            return
        try:
            engine.base(PYTHON, folder / "debian")
        except SystemExit as error:
            if not if_possible:
                raise
            say(f"images are not built: {str(error).strip().splitlines()[-1]}")
            return
        from attnexport.exporter import PresetConfig
        from attnexport.workflows.export import export_saved_model

        export = export_saved_model(PresetConfig(pooling="average"), folder / "export").directory
        client(engine, export)
        toolkit(engine, folder / "work")
        deployed(engine, export, folder)
        say(engine.sizes())


if __name__ == "__main__":
    main()
