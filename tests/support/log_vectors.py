"""Vectors that a verifier in any language could run: a correct journal, and how each attack on it changes it.

What lives here: `python -m tests.support.log_vectors` writes tests/vectors/log/journals; `apply` reads it back. What
never may: remit's own code.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from tests.support import forgeries, secret_tampers, unwitnessed
from tests.support.tampering import Case
from tests.support.tampers import TAMPERS
from tests.support.tile_log import TileLog

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "log" / "journals"
SEED, SHORTEST = 7, 100
Json = dict[str, Any]

assert forgeries and secret_tampers and unwitnessed  # imported for the attacks that they register

READ_ME = """\
A correct log, and attacks on it, for a verifier in any language.

`log/` and `payloads` are a log's folder and its disclosure file as docs/LOG-FORMAT.md says; `keys.json` has the
verifier keys of the log and of the witnesses. Verified with both witnesses, nothing is wrong with it.

`attacks.json` lists attacks. For each one:
- take the correct log's entries and apply `entries`, splices `[position, removed, [base64, ...]]` in positions of the
  correct log; make all tiles anew; write `checkpoint`, and where it is not null `witnessed` as `checkpoint.witnessed`;
- take the disclosure file's lines without `, "entry": ...}` at their ends and apply `payloads`, splices likewise; then
  give each line the first entry, from that of the line before on, that commits to its id, or that of the line before;
- apply `files`: a path to null (the file is not there) or to `[offset, removed, base64]`.

Verify with the `options`: `keys` are the log's, `older` is a checkpoint that was seen before, `quorum` counts
witnesses, `max_age` is in seconds and 0 for none, `now` is in seconds. A verifier must find `word`; where that is
empty, nothing can be found, and the verifier must say that rewriting is not excluded: of any record, or of those that
came after what the witnesses saw last.
"""


def splices(old: Sequence[Any], new: Sequence[Any]) -> list[list[Any]]:
    """What of `old` is replaced by what of `new`: position, how many, by which."""
    codes = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [[low, high - low, list(new[start:end])] for tag, low, high, start, end in codes if tag != "equal"]


def spliced(old: Sequence[Any], changes: list[list[Any]]) -> list[Any]:
    """`old` with splices applied."""
    found = list(old)
    for position, removed, added in reversed(changes):
        found[position : position + removed] = added
    return found


def splice(old: bytes, new: bytes) -> list[Any]:
    """The one splice that turns `old` into `new`."""
    start = next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), None)
    start = min(len(old), len(new)) if start is None else start
    end = 0
    while end < min(len(old), len(new)) - start and old[len(old) - 1 - end] == new[len(new) - 1 - end]:
        end += 1
    return [start, len(old) - end - start, base64.b64encode(new[start : len(new) - end]).decode()]


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def described(name: str, base: Case) -> Json:
    """One attack as data."""
    case = base.copied()
    TAMPERS[name].change(case)
    with tempfile.TemporaryDirectory() as scratch:
        plain, changed = Path(scratch, "plain"), Path(scratch, "changed")
        after, case.after = case.after, []
        case.write(plain)
        case.after = after
        case.write(changed)
        before, found = _files(plain / "log"), _files(changed / "log")
    paths = [path for path in sorted(before) if before[path] != found.get(path)]
    entries = splices([_text(each) for each in base.entries()], [_text(each) for each in case.entries()])
    return {
        "name": name,
        "word": TAMPERS[name].word,
        "says": TAMPERS[name].says,
        "entries": entries,
        "checkpoint": before["checkpoint"].decode(),
        "witnessed": case.witnessed.decode() if case.witnessed is not None else None,
        "payloads": splices(_unplaced(base.disclosure()), _unplaced(case.disclosure())),
        "files": {path: splice(before[path], found[path]) if path in found else None for path in paths},
        "options": {
            "older": case.older.decode() if case.older else None,
            "quorum": case.quorum,
            "keys": [each.text for each in case.keys or [case.key]],
            "max_age": case.max_age,
            "now": case.now,
        },
    }


def _unplaced(lines: list[str]) -> list[str]:
    return [line.partition(', "entry"')[0] for line in lines]


def _placed(lines: list[str], entries: list[bytes]) -> list[str]:
    """Disclosed payloads with the entries that commit to them, as the read-me says."""
    ids = [re.findall(rb'"([a-z0-9_]+\.[a-z]+)":', entry) for entry in entries]
    at, placed = 0, []
    for line in lines:
        name = json.loads(line + "}")["id"].encode()
        at = next((later for later in range(at, len(ids)) if name in ids[later]), at)
        placed.append(f'{line}, "entry": {at}}}\n')
    return placed


def _text(entry: bytes) -> str:
    return base64.b64encode(entry).decode()


def apply(attack: Json, entries: list[bytes], lines: list[str], folder: Path) -> None:
    """Write the log that the attack makes of the correct one: `log` and `payloads` below `folder`."""
    log = TileLog(folder / "log")
    changed = [base64.b64decode(each) for each in spliced([_text(each) for each in entries], attack["entries"])]
    for entry in changed:
        log.add(entry)
    log.close()
    (folder / "log" / "checkpoint").write_text(attack["checkpoint"], encoding="utf-8")
    if attack["witnessed"] is not None:
        (folder / "log" / "checkpoint.witnessed").write_text(attack["witnessed"], encoding="utf-8")
    payloads = _placed(spliced(_unplaced(lines), attack["payloads"]), changed)
    (folder / "payloads").write_text("".join(payloads), encoding="utf-8")
    for name, change in attack["files"].items():
        path = folder / "log" / name
        if change is None:
            path.unlink()
        else:
            start, removed, added = change
            data = path.read_bytes()
            path.write_bytes(data[:start] + base64.b64decode(added) + data[start + removed :])


def files() -> dict[str, bytes]:
    """All vector files by their path."""
    base = Case.fresh(SEED, SHORTEST)
    keys = {"log": [base.key.text], "witnesses": [each.text for each in base.witnesses]}
    attacks = [
        json.dumps(described(name, base), ensure_ascii=False) for name in TAMPERS if not name.startswith("high_")
    ]
    with tempfile.TemporaryDirectory() as scratch:
        base.copied().write(Path(scratch))
        found = _files(Path(scratch))
    return found | {
        "README.txt": READ_ME.encode(),
        "keys.json": (json.dumps(keys, indent=2) + "\n").encode(),
        "attacks.json": ("[\n" + ",\n".join(attacks) + "\n]\n").encode(),
    }


def main() -> None:
    """Write the vectors anew."""
    made = files()
    shutil.rmtree(VECTORS, ignore_errors=True)  # partial files of another size would stay
    for name, data in made.items():
        path = VECTORS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main()
