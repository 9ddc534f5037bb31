"""What `classify` and `regress` share: features from JSON, CSV or .npz, the signature, what a result shows."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ArgumentError, SamplesError, first_line, no_such
from attnexport.core.limits import MAX_JSON_EXAMPLES

from .result import Block, Line, Table

if TYPE_CHECKING:
    from attnexport.core import Signature
    from attnexport.serving import Client

Example = Mapping[str, Any]
ExampleSource = str | Path | bytes | Sequence[Example] | Mapping[str, Any]
MAX_ROWS = 20  # that a result shows
_NUMBERED = re.compile(r"(.+)_(\d{1,9})")


def read_examples(source: ExampleSource) -> list[Example]:
    """Examples from a file, the bytes of one, or values.

    A .json holds a list of objects from feature to value or list, an object with one list per feature, or the body of
    a REST request. A .csv holds one example a line under the names of the features; `x_0`, `x_1`… are the values of
    one feature `x`. An .npz holds an array `[n, ...]` per feature.

    Raises:
        ArgumentError: if the file does not exist, or is of another kind.
        SamplesError: if it cannot be read as examples.

    Example:
        >>> read_examples({"rooms": [3, 4], "area": [71.5, 80.0]})
        [{'rooms': 3, 'area': 71.5}, {'rooms': 4, 'area': 80.0}]
    """
    from .predict_inputs import parse_json, read_file

    if isinstance(source, bytes):
        return _checked(parse_json(source, "stdin"), "stdin")
    if not isinstance(source, str | Path):
        return _checked(source, "the examples")
    path = Path(source)
    if not path.exists():
        raise ArgumentError(f"samples {path} do not exist")
    if path.suffix == ".npz":
        from attnexport.core.samples import read_arrays

        return _checked({name: list(array) for name, array in read_arrays(path).items()}, str(path))
    if path.suffix not in (".json", ".csv"):
        raise ArgumentError(f"samples {path} are not a .json, .csv or .npz")
    data = read_file(path, MAX_JSON_EXAMPLES, "send such samples in parts")
    return _checked(_from_csv(data, str(path)) if path.suffix == ".csv" else parse_json(data, str(path)), str(path))


def signature_for(client: Client, method: str, name: str | None, version: int | None, label: str | None) -> Signature:
    """The signature of a method: the one of that name, or the only one that has the method.

    Raises:
        ArgumentError: if none or several have the method, or the named one does not exist or has another.
        ServingError: if the server cannot be asked.
    """
    signatures = client.metadata(version=version, label=label).signatures
    if name is not None and name not in signatures:
        raise ArgumentError(no_such("signature", name, signatures))
    fit = [each for each in signatures.values() if each.method == method and name in (None, each.name)]
    if len(fit) == 1:
        return fit[0]
    if name is not None:
        raise ArgumentError(f"signature {name!r} has the method {signatures[name].method}, not {method}")
    if not fit:
        raise ArgumentError(f"no signature has the method {method}; attnexport predict runs {', '.join(signatures)}")
    raise ArgumentError(
        f"several signatures have the method {method}: {', '.join(each.name for each in fit)}; name one"
    )


def example_blocks(heading: str, table: Table, count: int, output: Path | None) -> list[Block]:
    """What a result over `count` examples shows: the table of the first `MAX_ROWS`, and where all of them are."""
    blocks: list[Block] = [Line(f"{heading}\n"), table]
    if count > MAX_ROWS:
        blocks.append(f"\nand {count - MAX_ROWS} more examples; --output FILE.csv writes all")
    return blocks if output is None else [*blocks, Line(f"\nwritten to {output}")]


def _checked(value: Any, place: str) -> list[Example]:
    """Rows of features; an object of columns becomes rows."""
    if isinstance(value, Mapping) and isinstance(value.get("examples"), list):
        shared = value.get("context", {})
        value = [{**shared, **each} if isinstance(each, Mapping) else each for each in value["examples"]]
    if isinstance(value, Mapping):
        columns = {name: column for name, column in value.items() if isinstance(column, list)}
        lengths = {len(column) for column in columns.values()}
        if len(columns) != len(value) or len(lengths) != 1:
            raise SamplesError(f"{place}: an object must hold one list per feature, all of one length")
        value = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if not isinstance(value, Sequence) or not value or not all(isinstance(each, Mapping) for each in value):
        raise SamplesError(f"{place}: expected a list of objects from feature to values, at least one")
    return [{str(name): _flat(each) for name, each in row.items()} for row in value]


def _flat(value: Any) -> Any:
    """A value or a flat list: a tf.Example knows no shapes."""
    if isinstance(value, Mapping) and value.keys() == {"b64"}:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (ValueError, TypeError) as error:
            raise SamplesError(f"{value['b64']!r:.40} is not base64") from error
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        flat = [_flat(each) for each in value]
        return [each for part in flat for each in (part if isinstance(part, list) else [part])]
    return value


def _from_csv(data: bytes, place: str) -> list[Example]:
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise SamplesError(f"{place}: not CSV in UTF-8: {first_line(error)}") from error
    if len(rows) < 2:
        raise SamplesError(f"{place}: a line of feature names and at least one example are expected")
    titles, examples = rows[0], []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(titles):
            raise SamplesError(f"{place}, line {number}: {len(row)} cells under {len(titles)} names")
        examples.append(_joined({name: _value(cell) for name, cell in zip(titles, row, strict=True) if cell}))
    return examples


def _joined(row: Mapping[str, Any]) -> Example:
    """The row with `x_0`, `x_1`… as one feature `x`, if they are all there."""
    numbered: dict[str, list[int]] = {}
    for name in row:
        if match := _NUMBERED.fullmatch(name):
            numbered.setdefault(match[1], []).append(int(match[2]))
    lists = {name for name, numbers in numbered.items() if sorted(numbers) == list(range(len(numbers)))}
    plain = {
        name: value for name, value in row.items() if not ((match := _NUMBERED.fullmatch(name)) and match[1] in lists)
    }
    return {**plain, **{name: [row[f"{name}_{number}"] for number in range(len(numbered[name]))] for name in lists}}


def _value(cell: str) -> Any:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell
