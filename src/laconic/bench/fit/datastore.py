"""``fit datastore``: the texts of some files, in the tokens of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from laconic.bench import jsonl
from laconic.bench.replay import records
from laconic.errors import TaskError
from laconic.models.text import Text
from laconic.speculation.drafters.datastore import Datastore

_JSON = {".json", ".jsonl"}
_HINT = 'Files of plain text; JSON lines with a "text" each; or recorded answers in the forms of docs/replay.md.'


def build(
    files: Sequence[Path], text: Text, tokenizer: str, after: Callable[[str], object] = lambda said: None
) -> Datastore:
    """Tokenise and sort. ``tokenizer`` is the model's name; ``after`` is told of each file.

    Raises TaskError for a file that cannot be read, StoreError where no file holds any text.
    """
    found: list[list[int]] = []
    for file in files:
        after(f"reading {file.name}")
        found += [text.encode(each) for each in texts(file)]
    after("sorting")
    return Datastore.of(found, tokenizer, [str(file) for file in files])


def texts(file: Path) -> Iterator[str]:
    """The texts of a file: all of it, or, of JSON, every ``text``, or else what the model of a recording wrote."""
    if file.suffix not in _JSON:
        try:
            yield file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TaskError(f"cannot read '{file}': {error}.", _HINT) from error
        return
    rows = [row for _, row in jsonl.objects(jsonl.lines(file, _HINT)) if isinstance(row, dict)]
    plain = [row["text"] for row in rows if isinstance(row.get("text"), str)]
    if plain:
        yield from plain
    else:
        yield from (turn.written for record in records.read(file).records for turn in record.turns)
