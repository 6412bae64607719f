"""The boundaries that come with Remit, as templates: `shipped` (what `remit init` writes) and `demo`.

A template has places like `{{name}}` that `render` fills in. The result is a file for people to read, change and sign.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

from remit.model.errors import Misuse

_PLACE = re.compile(r"\{\{([a-z_]+)\}\}")
_UNQUOTED = frozenset({"not_before", "not_after", "review_by", "pins"})
_SAFE = re.compile(r'[^"\\\x00-\x1f\x7f]*')
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?")
_PINS = re.compile(r'(?:[a-z0-9][a-z0-9_-]* = "sha256:[0-9a-f]{64}"(?:\n|$))*')


def template(name: str) -> str:
    """The text of the template `shipped` or `demo`."""
    return (files(__package__) / f"{name}.toml").read_text(encoding="utf-8")


def places(text: str) -> tuple[str, ...]:
    """The names of the places in a template, in order, each once."""
    return tuple(dict.fromkeys(_PLACE.findall(text)))


def pins(digests: Mapping[str, str]) -> str:
    """The value of the place `pins`: connector to `sha256:…` of its file."""
    return "\n".join(f'{name} = "{digest}"' for name, digest in sorted(digests.items()))


def render(text: str, values: Mapping[str, str]) -> bytes:
    """The bytes of the template with every place filled in.

    `not_before`, `not_after` and `review_by` are ISO 8601; `pins` is made by `pins`; the others are plain text. Raises
    `Misuse` where a value is missing, not asked for, or would not stay in its place.
    """
    wanted = places(text)
    if missing := [name for name in wanted if name not in values]:
        raise Misuse(f"no value for `{missing[0]}`", hint=f"the template needs {', '.join(wanted)}")
    if extra := [name for name in values if name not in wanted]:
        raise Misuse(f"the template has no place for `{extra[0]}`", hint=f"it has {', '.join(wanted)}")
    for name in wanted:
        shape = _PINS if name == "pins" else _TIME if name in _UNQUOTED else _SAFE
        if not shape.fullmatch(values[name]):
            raise Misuse(f"the value of `{name}` does not fit its place in the template")
    return _PLACE.sub(lambda hit: values[hit[1]], text).encode()
