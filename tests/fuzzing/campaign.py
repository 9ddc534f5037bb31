"""Many inputs for one parser: each is read or refused in bounded time and memory, by an error of the parser's own.

Hypothesis takes longer over an input than most parsers do, so the long form changes documents by its own dice. An input
that is answered as none was before (by another text, but for the names and numbers in it) becomes a document, too.
"""

from __future__ import annotations

import contextlib
import random
import re
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from .mutations import Corpus
from .target import Target

CPU_SECONDS = 2.0  # for an input
MEMORY_BYTES = 1 << 30  # that an input may take beside what the process has
_MAX_FAULTS = 20  # of which each is written to a file
_MAX_ANSWERS = 20_000
_SHOWN = 160  # characters of an answer that tell it from others
_CHANGES = re.compile(r"""'[^']*'?|"[^"]*"?|[-+\d][\w.,+-]*|\\x..""")


class TooSlowError(BaseException):
    """An input took more processor time than any should; not an Exception, which parsers catch."""


@dataclass
class Findings:
    """What a campaign found.

    Attributes:
        inputs: How many inputs were fed.
        read: How many of them a parser of the target read.
        answers: How often there was each answer, without the names and numbers in it.
        faults: What went wrong, with the input's number, one of each kind.
        slowest_ms: Processor time of the slowest input, in ms.
        grown_mb: By how much the process grew at most, in MB.
    """

    inputs: int = 0
    read: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    slowest_ms: float = 0.0
    grown_mb: float = 0.0


def feed(target: Target, inputs: int, seed: str, folder: Path, note: Callable[[int, bytes], object]) -> Findings:
    """Feed a parser inputs.

    Args:
        target: The parser.
        inputs: How many.
        seed: Where the choices come from: the same inputs again for the same seed.
        folder: Where an input that shows a fault is written.
        note: Called with each input and its number before it is fed, for whoever watches the process.
    """
    chance = random.Random(seed)
    corpus, findings = Corpus(target.seeds, target.form, chance), Findings()
    first = _peak()
    with _limited():
        for number in range(inputs):
            data = corpus.draw()
            if target.wrap is not None:
                data = target.wrap(data, chance.random())
            note(number, data)
            before, begin = _peak(), time.process_time()
            answers = _answers(target, data, findings, folder)
            findings.slowest_ms = max(findings.slowest_ms, 1000 * (time.process_time() - begin))
            if (grown := _peak() - before) > MEMORY_BYTES:
                _report(findings, folder, f"{grown:,} bytes of memory", "", data)
            findings.inputs += 1
            findings.read += "" in answers
            is_new = False
            for answer in answers:
                if answer not in findings.answers and len(findings.answers) >= _MAX_ANSWERS:
                    continue
                is_new |= answer not in findings.answers
                findings.answers[answer] += 1
            if is_new and target.wrap is None:
                corpus.keep(data)
    findings.grown_mb = (_peak() - first) / 1e6
    return findings


def _answers(target: Target, data: bytes, findings: Findings, folder: Path) -> list[str]:
    """How each parser of a target answers: its refusal, empty if it reads the input."""
    answers = []
    for at, read in enumerate(target.reads):
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            read(data)
        except target.refuses as error:
            answers.append(f"{at} {type(error).__name__}: {_CHANGES.sub('?', str(error)[:_SHOWN])}")
        except TooSlowError:
            _report(findings, folder, f"more than {CPU_SECONDS:g} s", traceback.format_exc(), data)
            answers.append("too slow")
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
            _report(findings, folder, kind, traceback.format_exc(), data)
            answers.append(kind)
        else:
            answers.append("")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    return answers


def _report(findings: Findings, folder: Path, kind: str, details: str, data: bytes) -> None:
    if kind not in findings.faults and len(findings.faults) < _MAX_FAULTS:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"fault-{findings.inputs}"
        file.write_bytes(data)
        file.with_suffix(".txt").write_text(details)
        findings.faults[kind] = str(file)


def _peak() -> int:
    """The most memory that the process had, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """End an input that takes too long."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TooSlowError

    old = signal.signal(signal.SIGPROF, end)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)
