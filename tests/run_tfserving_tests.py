"""TF Serving's own integration tests, unchanged, against `attnexport serve`.

    python tests/run_tfserving_tests.py CHECKOUT [NAME ...]

CHECKOUT is a working tree of github.com/tensorflow/serving. NAME is a test, such as testPredictREST; by default all run
that need nothing but a model server: see `LEFT_OUT`. Servers live until the end, so 12 GB of memory are needed.
`tests/serving/test_asked_by_tf_serving.py` asks the same in the project's own words.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

LEFT_OUT = {
    "test_sequential_keras_saved_model_save": "needs Keras 2, which names the output after the last layer",
    "test_distrat_sequential_keras_saved_model_save": "needs Keras 2",
    "test_profiler_service_with_valid_trace_request": "asks the profiler, which the embedded server does not have",
    "test_tf_text": "needs TF Text's operators",
}
TESTS = "tensorflow_serving/model_servers/tensorflow_model_server_test.py"
# Runs the file as it is; the package of the API on PyPI lacks what the tests import beside it.
RUN = """
import runpy, sys, tensorflow_serving
tensorflow_serving.__path__.append(sys.argv[1] + "/tensorflow_serving")
path = sys.argv[2]
sys.argv = [path, *sys.argv[3:]]
runpy.run_path(path, run_name="__main__")
"""
# Of the package portpicker, where it is not installed.
PORTPICKER = """
import socket
def pick_unused_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
"""


def tests_of(path: Path) -> list[str]:
    """The names of the tests in a file."""
    return re.findall(r"^  def (test\w+)\(self\)", path.read_text(), re.MULTILINE)


def run(checkout: Path, names: list[str], folder: Path) -> int:
    """Run tests; the exit code."""
    serving = folder / "tf_serving" / "tensorflow_serving"
    (serving / "model_servers").mkdir(parents=True)
    (serving / "servables").symlink_to(checkout / "tensorflow_serving" / "servables")
    server = serving / "model_servers" / "tensorflow_model_server"
    server.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m attnexport serve "$@"\n')
    server.chmod(0o755)
    if importlib.util.find_spec("portpicker") is None:
        (folder / "modules").mkdir()
        (folder / "modules" / "portpicker.py").write_text(PORTPICKER)
    environment = {
        **os.environ,
        "TEST_SRCDIR": str(folder),
        "TEST_TMPDIR": str(folder / "temporary"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder / "modules"), os.environ.get("PYTHONPATH")])),
    }
    words = [sys.executable, "-c", RUN, str(checkout), str(checkout / TESTS)]
    words += [f"TensorflowModelServerTest.{name}" for name in names]
    return subprocess.run(words, cwd=folder, env=environment, check=False).returncode


def main() -> None:
    """Choose and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    checkout = options.checkout.resolve()
    if not (checkout / TESTS).is_file():
        parser.error(f"{checkout} has no {TESTS}; give a working tree of github.com/tensorflow/serving")
    known = tests_of(checkout / TESTS)
    if unknown := set(options.names) - set(known):
        parser.error(f"there is no test {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for name, reason in {} if options.names else LEFT_OUT.items():
        sys.stdout.write(f"left out: {name}: {reason}\n")
    sys.stdout.flush()
    names = options.names or [name for name in known if name not in LEFT_OUT]
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(run(checkout, names, Path(folder)))


if __name__ == "__main__":
    main()
