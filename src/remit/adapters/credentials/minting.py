"""Minting the credential of one action, by its connector's class."""

from __future__ import annotations

from collections.abc import Sequence

from remit.gates.warrants import MAX_LIFETIME, WarrantKey, mint
from remit.model.words import Action, CredentialClass, Instant, Json

META = "remit/warrant"


class Minter:
    """Fulfils `remit.flow.ports.Credentials`. A standing secret is already where its connector expects it, so only
    the class `warrant` puts anything into a call."""

    def __init__(self, key: bytes, home: str) -> None:
        self._key = WarrantKey(key)
        self._home = home

    def mint(
        self, action: Action, connector: str, tool: str, targets: Sequence[str], arguments: bytes, now: Instant
    ) -> dict[str, Json]:
        """See `Credentials`."""
        if action.credential is not CredentialClass.WARRANT:
            return {}
        token = mint(
            self._key,
            home=self._home,
            agent=action.agent,
            connector=connector,
            tool=tool,
            targets=targets,
            arguments=arguments,
            action=action.id,
            digest=action.digest,
            jti=action.warrant,
            now=now,
            lifetime=MAX_LIFETIME,
        )
        return {META: token}
