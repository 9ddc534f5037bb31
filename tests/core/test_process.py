"""What this process takes from where it was started."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from attnexport.parity.report.drawing import style


def test_settings_beside_a_downloaded_file_are_not_read(
    fork_python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nowned\x1b[2J: 1\n")
    done = fork_python(
        "import os, sys\n"
        "from attnexport.core.process import import_away\n"
        "before = os.getcwd()\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import_away('matplotlib')\n"
        "assert os.getcwd() == before\n"
        "print(sys.modules['matplotlib'].rcParams['text.usetex'])\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


def test_keras_alone_does_without_what_it_only_offers(
    fork_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """The fork's parent has started as our processes do, and has imported Keras."""
    done = fork_python(
        "import sys\n"
        "assert 'keras' in sys.modules\n"
        "assert not {'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "for name in ('sklearn', 'matplotlib.pyplot'):\n"
        "    try: exec(f'import {name}', {'__name__': 'keras.src.wrappers'})\n"
        "    except ModuleNotFoundError as error: print(error)\n"
        "import matplotlib.pyplot, sklearn.base\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "sklearn is not loaded for Keras here",
        "matplotlib is not loaded for Keras here",
    ]


def test_pictures_are_drawn_by_the_settings_of_a_report_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib as mpl

    monkeypatch.setitem(mpl.rcParams, "text.usetex", True)
    monkeypatch.setitem(mpl.rcParams, "axes.grid", True)
    with style():
        assert (mpl.rcParams["text.usetex"], mpl.rcParams["axes.grid"]) == (False, False)
    assert mpl.rcParams["text.usetex"] is True
