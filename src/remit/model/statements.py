"""The two statements that people sign: about one action, and to command the gateway.

A statement's signed form is canonical JSON (RFC 8785), signed as SSHSIG in the namespace of its kind. SSHSIG
carries no time and no place, so the home, the person and the span of validity are inside the signed bytes.
What lives here says what was signed and whether it fits here and now; who signed is `signatures.verify`'s
answer, whether the person may is the roster's, and that a statement counts once is the store's.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Literal, Self

import msgspec
from msgspec import Struct

from remit.model import canonical
from remit.model.display import shown
from remit.model.errors import Misuse, NotVerified
from remit.model.signatures import Namespace
from remit.model.words import MINUTE, SECOND, Instant, Json

Verb = Literal["approve", "reject"]

LARGEST_STATEMENT = 64 * 1024
LONGEST_VALIDITY: int = 24 * 60 * MINUTE
CLOCK_SKEW: int = 5 * SECOND
"""How far in the future `issued` may lie, for a signer's clock that runs ahead."""

_HEX = frozenset("0123456789abcdef")


class Kind(StrEnum):
    """The first field of every statement, so that one kind can never be read as the other."""

    APPROVAL = "remit-approval-1"
    CONTROL = "remit-control-1"


class BadStatement(Misuse):
    """The bytes are not a statement. Nothing may be concluded from them."""


class StatementRefused(NotVerified):
    """A well-formed statement that does not fit: other home, other action, other person, or not valid now.

    `why` is one word for programs: `home`, `person`, `action`, `digest`, `card_digest`, `boundary_digest`,
    `verb`, `command`, `parameters`, `early`, `expired` or `span`.
    """

    def __init__(self, why: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.why = why


class _Statement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What both kinds share. INVARIANT: `encode` and `parse` are inverse, byte for byte."""

    kind_word: ClassVar[Kind]
    namespace: ClassVar[Namespace]

    home: str
    person: str
    issued: Instant
    expires: Instant

    def encode(self) -> bytes:
        """The exact bytes to sign: canonical JSON; its key `kind` says which statement it is."""
        return canonical.encode({"kind": str(self.kind_word), **msgspec.structs.asdict(self)})

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The statement in signed bytes. Raises `BadStatement` for a missing, unknown or ill-typed key,
        another kind, and any spelling but the canonical one."""
        try:
            fields = canonical.decode_strict(data, max_bytes=LARGEST_STATEMENT)
        except canonical.BadJson as error:
            raise BadStatement(f"the statement cannot be read: {error}") from None
        cls._expect_keys(fields)
        try:
            statement = msgspec.convert({k: v for k, v in fields.items() if k != "kind"}, cls)
        except msgspec.ValidationError as error:
            raise BadStatement(f"the statement is refused: {shown(str(error)).strip('`')}") from None
        statement._expect_values()
        if statement.encode() != data:
            raise BadStatement(
                "the statement is not in canonical JSON (RFC 8785)", hint="sign the bytes that Remit made"
            )
        return statement

    @classmethod
    def _expect_keys(cls, fields: Json) -> None:
        if not isinstance(fields, dict):
            raise BadStatement(f"the statement is {shown(fields)}, expected a JSON object")
        if fields.get("kind") != cls.kind_word:
            found = shown(fields.get("kind"))
            raise BadStatement(f"the statement's `kind` is {found}, expected `{cls.kind_word}`")
        known = {"kind", *cls.__struct_fields__}
        for wrong, word in ((known - fields.keys(), "lacks"), (fields.keys() - known, "has an unknown key,")):
            if wrong:
                raise BadStatement(f"the statement {word} {', '.join(map(shown, sorted(wrong)))}")

    def _expect_values(self) -> None:
        for name, value in msgspec.structs.asdict(self).items():
            if value == "" and isinstance(value, str):
                raise BadStatement(f"the statement's `{name}` is empty")
            if name.endswith("digest") and not (len(value) == 64 and _HEX.issuperset(value)):
                raise BadStatement(f"the statement's `{name}` is {shown(value)}, expected a SHA-256 in hex")
        if self.issued < 0 or self.expires <= self.issued:
            raise BadStatement("the statement expires before it is issued")

    def _expect(self, **expected: object) -> None:
        """Refuses the first field whose value is another than the one expected here."""
        for name, wanted in expected.items():
            found = getattr(self, name)
            if found != wanted:
                raise StatementRefused(
                    name,
                    f"the statement says {name.replace('_', ' ')} {shown(found)}, expected {shown(wanted)}",
                    hint="sign a statement made for exactly this",
                )

    def _expect_now(self, now: Instant) -> None:
        if self.issued > now + CLOCK_SKEW:
            ahead = (self.issued - now) / SECOND
            message = f"the statement was issued {ahead:.0f} s in the future"
            raise StatementRefused("early", message, hint="compare the two clocks")
        if self.expires - self.issued > LONGEST_VALIDITY:
            hours = LONGEST_VALIDITY // (60 * MINUTE)
            raise StatementRefused(
                "span", f"the statement is valid for more than {hours} hours", hint="sign a shorter one"
            )
        if now >= self.expires:
            ago = (now - self.expires) / SECOND
            raise StatementRefused("expired", f"the statement expired {ago:.0f} s ago", hint="sign a new one")


class ApprovalStatement(_Statement, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One human's yes or no to one action, as its card showed it. Digests are SHA-256 in hexadecimal."""

    kind_word: ClassVar[Kind] = Kind.APPROVAL
    namespace: ClassVar[Namespace] = Namespace.APPROVAL

    verb: Verb
    action: str
    digest: str
    card_digest: str
    boundary_digest: str

    def check(
        self,
        now: Instant,
        *,
        home: str,
        person: str,
        action: str,
        digest: str,
        card_digest: str,
        boundary_digest: str,
    ) -> None:
        """Raises `StatementRefused` unless the statement is `person`'s (whose key signed it), about exactly
        this action, card and boundary, in this home, and valid at `now`."""
        self._expect(
            home=home,
            person=person,
            action=action,
            digest=digest,
            card_digest=card_digest,
            boundary_digest=boundary_digest,
        )
        self._expect_now(now)


class ControlStatement(_Statement, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One human's command to one gateway. `nonce` makes it good once; the store remembers it until
    `expires`."""

    kind_word: ClassVar[Kind] = Kind.CONTROL
    namespace: ClassVar[Namespace] = Namespace.CONTROL

    command: str
    parameters: dict[str, Any]
    nonce: str

    def check(self, now: Instant, *, home: str, person: str, command: str, parameters: dict[str, Json]) -> None:
        """Raises `StatementRefused` unless the statement is `person`'s (whose key signed it), says exactly
        this command with these parameters, to this home, and is valid at `now`. The nonce is the caller's to
        burn."""
        self._expect(home=home, person=person, command=command)
        if canonical.encode(self.parameters) != canonical.encode(parameters):
            raise StatementRefused(
                "parameters",
                f"the statement commands `{self.command}` with other parameters than were asked for",
                hint="sign a statement made for exactly this",
            )
        self._expect_now(now)
