"""Signed commands: who signed, whether they may, and that a statement counts once.

What lives here: everything between the bytes of a control statement and the right to act on it. What never may: the
effect of a command. INVARIANT: the nonce is burned, durably and on record, before anything else happens.
"""

from __future__ import annotations

import base64
import binascii

from msgspec import Struct

from remit.doors.control.side import NodeSide
from remit.flow.ports import Transaction
from remit.gates import journal
from remit.model.errors import Misuse, NotVerified, Refusal
from remit.model.people import COMMANDS, Person
from remit.model.signatures import Namespace, verify
from remit.model.statements import ControlStatement
from remit.model.words import Clause, Decision, Json, Payload, Record

ROLES = COMMANDS
"""Who may sign which command. No role includes another."""


class Command(Struct, frozen=True, kw_only=True):
    """A command that was verified, and whose nonce is burned: what to do, who says so, and the record to write with
    its effect."""

    name: str
    parameters: dict[str, Json]
    person: Person
    record: Record


def signed_bytes(params: dict[str, Json]) -> tuple[bytes, bytes]:
    """The statement and its signature out of a request. Raises `Misuse` where either is missing or not base64."""
    found = []
    for name in ("statement", "signature"):
        value = params.get(name)
        try:
            found.append(base64.b64decode(value if isinstance(value, str) else "", validate=True))
        except (binascii.Error, ValueError):
            raise Misuse(f"`{name}` is not base64") from None
        if not found[-1]:
            raise Misuse(f"a signed command needs `{name}`, in base64")
    return found[0], found[1]


async def accept(node: NodeSide, params: dict[str, Json]) -> Command:
    """The command in a signed statement, once it is verified and its nonce is burned.

    Raises `BadStatement` for bytes that are none, `NotVerified` for a wrong signature, home, person or time,
    `Refusal` for a person who may not, and for a statement that was used before.
    """
    data, signature = signed_bytes(params)
    statement = ControlStatement.parse(data)
    person = _signer(node, statement, data, signature)
    roles = ROLES.get(statement.command)
    if roles is None:
        raise Misuse(f"there is no signed command `{statement.command}`", hint="is this the same version of remit?")
    if person.roles.isdisjoint(roles):
        wanted = ", ".join(f"`{role}`" for role in roles)
        has = ", ".join(f"`{role}`" for role in sorted(person.roles))
        says = f"`{person.id}` may not `{statement.command}`: that needs one of {wanted}, they have {has or 'no role'}"
        raise Refusal(says, hint="ask one of them", clauses=[Clause("control.role", Decision.FORBID, says)])
    payload = journal.statement(node.ids.new("sta"), node.ids.salt(), data, signature)
    await _burn(node, statement, payload, person)
    return Command(
        name=statement.command,
        parameters=statement.parameters,
        person=person,
        record=_record(node, statement, payload, person, "carried-out"),
    )


def _signer(node: NodeSide, statement: ControlStatement, data: bytes, signature: bytes) -> Person:
    """The person on the roster whose key signed, if the statement is theirs, for this home, and good now."""
    now = node.clock.now()
    roster = node.forces.current.roster
    keys = [key for person in roster.people for key in person.keys]
    person = roster.owner(verify(signature, data, Namespace.CONTROL, keys))
    if person is None or not person.current(now):
        raise NotVerified("the keys of who signed no longer count", hint="ask a leader to renew the roster")
    statement.check(
        now,
        home=node.identity.id,
        person=person.id,
        command=statement.command,
        parameters=statement.parameters,
    )
    return person


async def _burn(node: NodeSide, statement: ControlStatement, payload: Payload, person: Person) -> None:
    record = _record(node, statement, payload, person, "accepted")

    def step(tx: Transaction) -> None:
        if not tx.burn_nonce(statement.nonce, statement.expires):
            says = f"this signed `{statement.command}` was used before"
            clauses = [Clause("control.replay", Decision.FORBID, says)]
            raise Refusal(says, hint="sign the command again; each statement counts once", clauses=clauses)
        tx.put_payload(payload)
        tx.append(record)

    await node.store.commit(step)


def _record(node: NodeSide, statement: ControlStatement, payload: Payload, person: Person, stage: str) -> Record:
    return journal.record(
        "statement",
        node.clock.now(),
        command=statement.command,
        person=node.names.person(person.id),
        nonce=statement.nonce,
        stage=stage,
        payloads=journal.commits(payload),
    )
