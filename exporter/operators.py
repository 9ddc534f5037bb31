"""Operators that TensorFlow does not have itself, and the packages that register them."""

from __future__ import annotations

import re

_MISSING = re.compile(r"Op type not registered '([^']+)'")
# TF Text's operators from before it had a prefix.
TEXT_OPERATORS = re.compile(
    r"TFText>.*|(Whitespace|UnicodeScript|Wordpiece|FastWordpiece|SplitMerge)TokenizeWithOffsets|Sentencepiece\w*|"
    r"(CaseFold|Normalize)UTF8\w*|FindSourceOffsets|RegexSplitWithOffsets|SentenceFragments(V2)?|ConstrainedSequence|"
    r"FastBertNormalize|MaxSpanningTree|PhraseTokenize|RougeL|TokenizerFromLogits"
)
# By the names of operators: the package and the module to import.
_PACKAGES = (
    (TEXT_OPERATORS, "tensorflow-text", "tensorflow_text"),
    (re.compile(r"SimpleML\w*"), "tensorflow-decision-forests", "tensorflow_decision_forests"),
    (re.compile(r"Addons>.*"), "tensorflow-addons", "tensorflow_addons"),
    (re.compile(r"IO>.*"), "tensorflow-io", "tensorflow_io"),
    (re.compile(r"TFRA>.*"), "tensorflow-recommenders-addons", "tensorflow_recommenders_addons"),
    (re.compile(r"Scann>.*"), "scann", "scann"),
)


def missing_operator(text: str) -> str:
    """What to do about an operator that is not registered; empty if the message is about something else.

    Args:
        text: TensorFlow's message.

    Example:
        >>> text = missing_operator("Op type not registered 'TFText>NgramsStringJoin' in binary running on host")
        >>> text.partition(": ")[2]
        'the package tensorflow-text has it; install it and give --import tensorflow_text'
        >>> missing_operator("No such file")
        ''
    """
    match = _MISSING.search(text)
    if match is None:
        return ""
    operator = match[1]
    for names, package, module in _PACKAGES:
        if names.fullmatch(operator):
            return (
                f"Op type not registered {operator!r}: the package {package} has it; install it and give "
                f"--import {module}"
            )
    return f"Op type not registered {operator!r}: give --import MODULE with the module that registers it"
