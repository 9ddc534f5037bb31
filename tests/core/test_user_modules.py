"""Modules that `--import` names: found by name here, by file in child processes, never before what is installed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

RunPython = Callable[..., subprocess.CompletedProcess[str]]

LOAD = """
import os, sys
sys.path.remove('')
from attnexport.core.child_process import Child
from attnexport.core.user_modules import import_modules, load_modules
files = import_modules(sys.argv[1:])
print([file.name for file in files])
import json
with Child() as child:
    os.chdir('/')
    child.call(load_modules, files)
    for name in sys.argv[1:]:
        print(child.call(getattr(sys.modules[name], 'where')))
print(os.path.dirname(json.__file__) != os.getcwd())
"""


def test_modules_come_from_the_working_directory_and_reach_children_by_file(
    run_python: RunPython, tmp_path: Path
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the working directory came first')")
    (tmp_path / "alone.py").write_text("import beside\ndef where() -> str: return beside.NAME + __file__\n")
    (tmp_path / "beside.py").write_text("NAME = 'beside '\n")
    for package in ("pack", "space/deep"):
        (tmp_path / package).mkdir(parents=True)
    (tmp_path / "pack/__init__.py").write_text("from . import inner\n")
    (tmp_path / "pack/inner.py").write_text("import json\ndef where() -> str: return json.dumps(__file__)\n")
    (tmp_path / "space/deep/end.py").write_text("def where() -> str: return __name__\n")
    done = run_python(LOAD, "alone", "pack.inner", "space.deep.end")
    assert done.stdout.splitlines() == [
        "['alone', 'pack', 'pack.inner', 'space', 'space.deep', 'space.deep.end']",
        f"beside {tmp_path / 'alone.py'}",
        f'"{tmp_path / "pack/inner.py"}"',
        "space.deep.end",
        "True",
    ], done.stderr


def test_what_fails_names_the_module(run_python: RunPython, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no data')\n")
    code = (
        "import sys\n"
        "from attnexport.core.user_modules import import_modules\n"
        "for name in ('nowhere', 'broken'):\n"
        "    try: import_modules([name])\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    assert run_python(code).stdout.splitlines() == [
        "ArgumentError there is no module 'nowhere' in the environment or the working directory",
        "ModelError module 'broken' cannot be imported: RuntimeError: no data",
    ]
