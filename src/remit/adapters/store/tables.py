"""What the in-memory store holds.

What lives here: containers. What never may: a rule about what goes into them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from remit.flow.ports import StoredRecord
from remit.model.words import Action, Approval, Claim, Evidence, Instant, Payload, Run


@dataclass
class Tables:
    """Everything that a store holds. Values are frozen, so a copy of the containers is a copy."""

    actions: dict[str, Action] = field(default_factory=dict)
    claims: dict[tuple[str, str, str], tuple[Claim, Instant | None]] = field(default_factory=dict)
    records: list[StoredRecord] = field(default_factory=list)
    payloads: dict[str, Payload] = field(default_factory=dict)
    put_at: dict[str, int] = field(default_factory=dict)
    tombstones: dict[str, int] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    evidence: dict[str, Evidence] = field(default_factory=dict)
    approvals: list[Approval] = field(default_factory=list)
    refusals: list[tuple[str, Instant]] = field(default_factory=list)
    nonces: dict[str, Instant] = field(default_factory=dict)
    facts: dict[str, bytes] = field(default_factory=dict)

    def copy(self) -> Tables:
        """The same contents in containers of their own."""
        return Tables(**{each.name: getattr(self, each.name).copy() for each in fields(self)})
