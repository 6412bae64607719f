"""How a connector finds what a caller names: by the connector's own id, or by any name of the thing."""

from __future__ import annotations

from remit_lab.files import Json
from remit_lab.serving import CallRefused


def find(things: dict[str, Json], name: str, noun: str) -> Json:
    """Return the one thing that has `name` as its id, name or alias (letter case aside for names).

    Raises CallRefused when nothing, or more than one thing, is called that.
    """
    if name in things:
        return things[name]
    wanted = name.casefold()
    found = [thing for thing in things.values() if wanted in (known.casefold() for known in _names(thing))]
    if not found:
        raise CallRefused(f"{noun} `{name}` is not known")
    if len(found) > 1:
        listed = ", ".join(sorted(thing["name"] for thing in found))
        raise CallRefused(f"{noun} `{name}` could be any of {listed}")
    return found[0]


def _names(thing: Json) -> list[str]:
    return [thing["name"], *thing["aliases"]]
