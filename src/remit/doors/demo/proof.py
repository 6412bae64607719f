"""The act on proof: the log verified, a changed byte found, systems asked what they did, the evidence in one file.

What lives here: which of Remit's commands an auditor would run, and the sentences between them. What never may: a
verdict of the demonstration's own; verified is what `remit log verify` says is verified.
"""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path
from typing import Any

from remit.doors.demo.acts import ISOLATE
from remit.doors.demo.home import AGENT, must, remit
from remit.doors.demo.processes import Said
from remit.doors.demo.story import Story, near
from remit.gates.log.tiles import WIDTH, decode_entries, encode_entries, entries_path
from remit.model.errors import Fault
from remit.model.words import SECOND
from remit.offline import now

COMPARED = ("edr", "idp", "firewall")
DIFFERS = 1
_LOG_LINES = 4
_FINDING_LINES = 2
_TIME = b'"at":'


def proof(story: Story) -> None:
    """The whole act. Notes what it found under `log`."""
    story.act(
        "Can anyone check that?",
        "The record is a log that anybody can check, with this program or with one that is not ours. First all of it: "
        "every record, every signature, every approval.",
    )
    story.noted["log"] = found = _verified(story)
    _change_a_byte(story, found)
    _compare(story, found)
    _bundle(story, found)


def part(story: Story) -> None:
    """Remember that everything up to now was done without Remit."""
    story.noted["parted"] = now() + SECOND


def _verified(story: Story) -> dict[str, Any]:
    figures = story.begin("log", "verify", "--json")
    story.show("log", "verify", most=_LOG_LINES)
    report = story.answer(figures, "log", "verify")
    story.screen.point("not said", "that nobody with the log's key wrote it anew. A witness outside would add that.")
    return {
        "folder": "home/log",
        "origin": report["origin"],
        "size": report["size"],
        "root": report["root"],
        "verified": report["verified"],
        "not_checked": report["not_checked"],
    }


# --- one byte -------------------------------------------------------------------------------------------------------


def _change_a_byte(story: Story, found: dict[str, Any]) -> None:
    """Change one byte of a copy of the log, and have that copy verified."""
    screen = story.screen
    copy = story.folder / "changed-log"
    shutil.copytree(story.home / "log", copy)
    position, what = _changed(copy, int(found["size"]), str(story.noted.get("explained", "")))
    screen.line()
    screen.say(
        f"Now somebody with the disk changes one byte, in a copy: {what}, record {position}, is a moment earlier or "
        "later than it was."
    )
    words = ("log", "verify", near(copy), "--key", near(story.home / "keys" / "log.pub"))
    said = story.programs.run(remit(*words))
    screen.command(["remit", *words])
    screen.output("\n".join(_gist(said)))
    found["changed"] = {
        "folder": copy.name,
        "position": position,
        "verified": said.code == 0,
        "named": any(line.strip().startswith(f"tampered  {position}:") for line in said.out.splitlines()),
    }


def _changed(log: Path, size: int, action: str) -> tuple[int, str]:
    """Change the time of the vote on this action, or of the log's middle record: where that is, and what it is."""
    paths = [log / entries_path(start // WIDTH, min(WIDTH, size - start)) for start in range(0, size, WIDTH)]
    entries = [entry for path in paths for entry in decode_entries(path.read_bytes())]
    votes = [n for n, each in enumerate(entries) if b'"kind":"vote"' in each and f'"{action}"'.encode() in each]
    position = [*votes, size // 2][0]
    path = paths[position // WIDTH]
    bundle = decode_entries(path.read_bytes())
    bundle[position % WIDTH] = _one_byte(bundle[position % WIDTH])
    path.write_bytes(encode_entries(bundle))
    return position, "the time of a person's yes" if votes else "the time of a record"


def _one_byte(entry: bytes) -> bytes:
    """The entry with the last digit of its time changed. Raises `Fault` where it has none."""
    start = entry.find(_TIME) + len(_TIME)
    end = next((n for n in range(start, len(entry)) if not entry[n : n + 1].isdigit()), start)
    if start < len(_TIME) or end == start:
        raise Fault("a record of the log has no time, so there is nothing to change for the demonstration")
    changed = bytearray(entry)
    changed[end - 1] ^= 1
    return bytes(changed)


def _gist(said: Said) -> list[str]:
    """The verdict and the first finding of a verification, in its own words."""
    lines = said.out.splitlines()
    start = next((n for n, line in enumerate(lines) if line == "findings"), len(lines))
    return [*lines[:1], *lines[start + 1 : start + 1 + _FINDING_LINES]]


# --- past Remit -----------------------------------------------------------------------------------------------------


def _compare(story: Story, found: dict[str, Any]) -> None:
    """Hold what the systems themselves wrote down against the log: without Remit first, then with it."""
    screen = story.screen
    screen.line()
    screen.say(
        "A log tells only what passed through it. So each system's own record of what it did is compared with the log. "
        "This is what the console wrote down while the agent worked without Remit:"
    )
    until = datetime.datetime.fromtimestamp(story.noted["parted"] // SECOND, tz=datetime.UTC)
    without = _compared(story, "edr", story.without, "--until", until.strftime("%Y-%m-%dT%H:%M:%SZ"))
    if without["differs"]:
        screen.point("so", "nobody can account for what the agent did without Remit.", style="red")
    screen.line()
    screen.say("And while it worked through Remit:")
    governed = [_compared(story, name, story.governed) for name in COMPARED if _trail(story.governed, name).exists()]
    if not any(each["differs"] for each in governed):
        screen.point("so", "each change that was made through Remit had a warrant of its own, and the log knows it.")
    found["compared"] = {"without": [without], "with": governed}
    story.alerts()


def _compared(story: Story, connector: str, state: Path, *more: str) -> dict[str, Any]:
    words = ("log", "reconcile", connector, "--audit", near(_trail(state, connector)), *more)
    said = story.programs.run(remit(*words))
    if said.code != DIFFERS:
        must(said, "`remit log reconcile`")
    story.screen.command(["remit", *words])
    lines = said.out.strip().splitlines()
    told = [line for line in lines if line and not line.startswith(("from ", "kept as "))]
    story.screen.output("\n".join(told), most=9)
    return {"connector": connector, "differs": said.code == DIFFERS, "said": told}


def _trail(state: Path, connector: str) -> Path:
    return state / f"{connector}.audit.jsonl"


# --- one file -------------------------------------------------------------------------------------------------------


def _bundle(story: Story, found: dict[str, Any]) -> None:
    """The evidence for the agent's isolation, in a file that somebody else can check."""
    isolations = story.found("--agent", AGENT, "--category", ISOLATE, "--state", "done")
    if not isolations:
        return
    action, screen = str(isolations[-1]["id"]), story.screen
    path = story.folder / "isolation.zip"
    screen.line()
    screen.say(f"Last, one file for whoever asks why {story.facts.device} was cut off: the story, and its whole proof.")
    must(story.programs.run(remit("log", "bundle", action, "-o", near(path))), "`remit log bundle`")
    screen.command(["remit", "log", "bundle", action, "-o", near(path)])
    screen.output(f"{near(path)} ({path.stat().st_size:,} bytes): open story.html in it")
    said = story.show("log", "verify", near(path), "--key", near(story.home / "keys" / "log.pub"), most=4)
    found["bundle"] = {
        "path": path.name,
        "action": action,
        "bytes": path.stat().st_size,
        "verified": said.code == 0,
    }
