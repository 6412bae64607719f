"""The roster: who the people are, what each may decide, and the keys that they sign with.

The first roster is fixed when a home is made. Each later one is signed by a leader of the one before and has
a higher version, so that nobody writes themselves in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from msgspec import Struct

from remit.model.canonical import sha256_hex
from remit.model.display import safe_line, shown
from remit.model.errors import NotVerified
from remit.model.reading import Reader, read_toml
from remit.model.signatures import Namespace, NotAKey, PublicKey, SignatureError, parse_public_key, verify
from remit.model.words import Instant

_ID = r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,127}"
_ID_MEANING = "an id: an e-mail address, or letters, digits and `. _ + @ -`"


class Role(StrEnum):
    """What a person may do. Each role says itself; none includes another."""

    LEADER = "leader"
    APPROVER = "approver"
    ON_CALL = "on-call"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    ORCHESTRATOR = "orchestrator"


_WORKING = (Role.ORCHESTRATOR, Role.ON_CALL, Role.APPROVER, Role.OPERATOR, Role.LEADER)
_NIGHT = (Role.ON_CALL, Role.LEADER, Role.APPROVER)
_MENDING = (Role.ON_CALL, Role.OPERATOR, Role.APPROVER)
_KEEPING = (Role.OPERATOR, Role.LEADER)

COMMANDS: dict[str, tuple[Role, ...]] = {
    "run.open": _WORKING,
    "run.close": _WORKING,
    "resume": _NIGHT,
    "latch.mend": _NIGHT,
    "clock": _NIGHT,
    "log.continue": _KEEPING,
    "settle": _MENDING,
    "undo": _MENDING,
    "reload": _KEEPING,
    "tools.accept": _KEEPING,
    "inventory.accept": _KEEPING,
    "erase": (Role.AUDITOR, Role.LEADER),
}
"""Who may sign which command. No role includes another."""


class Person(Struct, frozen=True, kw_only=True):
    """Somebody, or for an orchestrator something, that signs. `id` is the e-mail address or id; it names them.
    `user` is who they are on the gateway's machine, where a stop is placed without a signature."""

    id: str
    name: str
    roles: frozenset[Role]
    keys: tuple[PublicKey, ...]
    not_after: Instant | None = None
    user: str = ""

    def current(self, now: Instant) -> bool:
        """Whether the person's keys still count at `now`."""
        return self.not_after is None or now < self.not_after


class Roster(Struct, frozen=True, kw_only=True):
    """One version of the roster. `digest` is the SHA-256 of the file's exact bytes, in hexadecimal.

    INVARIANT: no id and no key twice, at least one leader.
    """

    version: int
    people: tuple[Person, ...]
    digest: str
    home: str | None = None

    def person(self, person_id: str) -> Person | None:
        """The person of that id, in any case of letters, or None."""
        return next((each for each in self.people if each.id.casefold() == person_id.casefold()), None)

    def having(self, *roles: Role | str, now: Instant) -> tuple[Person, ...]:
        """The people who have at least one of `roles` and whose keys count at `now`."""
        wanted = {str(role) for role in roles}
        return tuple(each for each in self.people if each.current(now) and not wanted.isdisjoint(each.roles))

    def owner(self, key: PublicKey) -> Person | None:
        """The person whom a key belongs to, or None."""
        return next((each for each in self.people if key in each.keys), None)


class RosterRefused(NotVerified):
    """A roster that does not follow from the one before. Nothing was loaded; the one before stays in
    force."""


def load_roster(data: bytes, *, what: str = "people.toml") -> Roster:
    """The roster in a `people.toml`.

    Raises `reading.Unreadable` with every problem: unknown keys and roles, keys that are none, an id or a key
    that two people share, nobody who is a leader. Checks no signature: see `verify_successor`.
    """
    root = read_toml(data, what)
    head = root.table("roster", required=True)
    version = head.integer("version", minimum=1)
    home = head.text("home", default=None)
    readers = root.tables("person", label="name", required=True)
    people = tuple(_person(reader) for reader in readers)
    _expect_apart(readers, people)
    if readers and not any(Role.LEADER in person.roles for person in people):
        root.problem("person", "at least one with role `leader`", "none", hint='add `"leader"` to somebody\'s roles')
    root.finish()
    return Roster(version=version, people=people, digest=sha256_hex(data), home=home)


def verify_signed(
    roster: Roster,
    data: bytes,
    signatures: Iterable[bytes],
    namespace: Namespace,
    roles: Sequence[Role],
    *,
    now: Instant,
    needed: int = 1,
) -> tuple[Person, ...]:
    """The distinct people who have one of `roles` and whose signatures over exactly `data` hold, in id order.

    Raises `SignatureError` where they are fewer than `needed`: it says for each signature why it did not
    count. Two signatures of one person are one.
    """
    eligible = roster.having(*roles, now=now)
    keys = [key for person in eligible for key in person.keys]
    signers: dict[str, Person] = {}
    reasons: list[str] = []
    hint = ""
    for signature in signatures:
        try:
            person = roster.owner(verify(signature, data, namespace, keys))
        except SignatureError as error:
            reasons.append(error.message)
            hint = hint or error.hint
            continue
        if person is not None:
            signers[person.id] = person
    if len(signers) < needed:
        wanted = " or ".join(f"`{role}`" for role in roles)
        plural = "s" if needed > 1 else ""
        why = "; ".join(reasons) or ("no signature is there" if not signers else "nobody else signed")
        raise SignatureError(
            f"expected {needed} valid signature{plural} by a {wanted}, found {len(signers)}: {why}",
            hint=hint or f"sign it in namespace `{namespace}`",
        )
    return tuple(signers[name] for name in sorted(signers))


def verify_successor(
    old: Roster, new_bytes: bytes, signatures: Iterable[bytes], *, now: Instant
) -> tuple[Roster, tuple[Person, ...]]:
    """The roster that follows `old`, and the leaders of `old` who signed it.

    Raises `reading.Unreadable` for a file that is none, `SignatureError` without the valid signature of a
    leader of `old`, `RosterRefused` for a version that is not higher or another home's roster.
    """
    signers = verify_signed(old, new_bytes, signatures, Namespace.ROSTER, [Role.LEADER], now=now)
    new = load_roster(new_bytes)
    if new.version <= old.version:
        raise RosterRefused(
            f"the roster's version is `{new.version}`, expected one higher than `{old.version}`",
            hint=f"set `version = {old.version + 1}` and sign it again",
        )
    if old.home is not None and new.home != old.home:
        found = shown(new.home) if new.home is not None else "none"
        raise RosterRefused(
            f"the roster is for home {found}, expected `{old.home}`",
            hint="take this home's roster, and sign that",
        )
    return new, signers


def _person(reader: Reader) -> Person:
    name = reader.text("name")
    if name != safe_line(name):
        reader.problem("name", "a name on one line without hidden characters")
    if "email" in reader and "id" in reader:
        reader.problem("id", "either `email` or `id`", "both", hint="remove one of the two")
    person_id = reader.text("id" if "id" in reader else "email", pattern=_ID, meaning=_ID_MEANING)
    reader.text("email", default=None)
    roles = reader.choices("roles", [str(role) for role in Role])
    lines = reader.texts("keys")
    keys = tuple(key for index, line in enumerate(lines) if (key := _key(reader, index, line)) is not None)
    return Person(
        id=person_id,
        name=name,
        roles=frozenset(map(Role, roles)),
        keys=keys,
        not_after=reader.instant("not_after", default=None),
        user=reader.text("user", default=""),
    )


def _key(reader: Reader, index: int, line: str) -> PublicKey | None:
    try:
        return parse_public_key(line)
    except NotAKey as error:
        reader.problem_in("keys", index, "a public SSH key in one line", error.message, hint=error.hint)
        return None


def _expect_apart(readers: Sequence[Reader], people: Sequence[Person]) -> None:
    """Notes every id and every key that is listed a second time."""
    ids: dict[str, Person] = {}
    owners: dict[PublicKey, Person] = {}
    for reader, person in zip(readers, people, strict=True):
        if person.id and person.id.casefold() in ids:
            field = "id" if "id" in reader else "email"
            reader.problem(field, "each person once", f"{shown(person.id)} again")
        ids.setdefault(person.id.casefold(), person)
        for index, key in enumerate(person.keys):
            if key in owners:
                found = f"`{key.fingerprint}`, which {shown(owners[key].id)} has already"
                reader.problem_in("keys", index, "a key of this person alone", found, hint="one key, one person")
            owners.setdefault(key, person)
