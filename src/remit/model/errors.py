"""Errors come in three kinds, and a caller must be able to tell them apart.

- `Misuse`: our caller's bug or a person's wrong input. Nothing happened.
- `Refusal`: Remit decided against it. It carries the clauses that decided and what would be needed.
- `Fault`: the world failed. `NotCommitted` means certainly nothing happened; `CommitUnknown` means that it may have.

Every message is one lowercase sentence with the input in backticks, then a hint.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from remit.model.words import Clause


class RemitError(Exception):
    """Base of every error that Remit raises on purpose. `str()` is safe to show and holds no secret."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def shown(self) -> str:
        """The message, and the hint on a line of its own where there is one."""
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class Misuse(RemitError):
    """The input is not what was asked for: says what was expected, what came, and what to do."""


class Refusal(RemitError):
    """Remit refused. `clauses` name what decided; `state` is the action's state, if there is one."""

    def __init__(self, message: str, *, hint: str = "", state: str = "blocked", clauses: Iterable[Clause] = ()) -> None:
        super().__init__(message, hint=hint)
        self.state = state
        self.clauses = tuple(clauses)


class NotVerified(Refusal):
    """A signature, digest or statement is not what it must be. Nothing was loaded or accepted."""


class Fault(RemitError):
    """Something that Remit depends on failed."""


class NotCommitted(Fault):
    """The transaction certainly did not take place."""


class CommitUnknown(Fault):
    """The transaction may or may not have taken place: the answer of the disk was lost."""
