"""Secret arguments, taken out of a proposal that is kept, and put back while its action is open.

What lives here: both ways between the two forms of a proposal. What never may: keeping a value, or showing one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
from msgspec.structs import replace

from remit.model.canonical import encode
from remit.model.display import SECRET, meant
from remit.model.words import Json, Proposal, Secrets


def apart(proposal: Proposal) -> tuple[Proposal, Secrets | None]:
    """A whole proposal as it is kept, and what is kept only while its action is open; None where the call gave no
    secret argument."""
    arguments, given = _without(proposal.arguments, proposal.secrets)
    asked, also = _without(proposal.asked, proposal.secrets)
    if not given and not also:
        return proposal, None
    secrets = Secrets(arguments=given, asked=also, salt=proposal.salt)
    return replace(proposal, arguments=arguments, asked=asked, salt=""), secrets


def together(proposal: Proposal, secrets: Secrets) -> Proposal:
    """The whole proposal, as it was before `apart`."""
    return replace(
        proposal,
        arguments=_with(proposal.arguments, secrets.arguments),
        asked=_with(proposal.asked, secrets.asked),
        salt=secrets.salt,
    )


def given(proposal: Proposal) -> tuple[str, ...]:
    """The names of the secret arguments that the call gave, as it spelt them."""
    return tuple(sorted(meant(_object(proposal.arguments), proposal.secrets)))


def _without(text: str, names: Collection[str]) -> tuple[str, dict[str, Json]]:
    found = _object(text)
    secret = meant(found, names)
    if not secret:
        return text, {}
    return encode({**found, **dict.fromkeys(secret, SECRET)}).decode(), {name: found[name] for name in secret}


def _with(text: str, values: Mapping[str, Json]) -> str:
    return encode({**_object(text), **values}).decode() if values else text


def _object(text: str) -> dict[str, Json]:
    """The object in canonical JSON; an empty one for any other text."""
    try:
        return msgspec.json.decode(text, type=dict[str, Json])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
