"""What the flow answers to an agent, and the side of the node that agents' doors may use.

What lives here: values and one protocol. The door turns them into MCP; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from remit.model.words import Clause, Evidence, Instant, Json, Run, State


class Answer(Struct, frozen=True, kw_only=True):
    """What became of a call so far.

    `state` is an action's state, or `stopped` where a stop refused it before it was an action. `result` holds the
    exact bytes of the connector's result (raw: the door sanitises what it shows). `structured` is what Remit's own
    tools answer. `message` is one lowercase sentence; `clauses` and `hint` say why, and what would be needed.
    """

    state: State | str
    action: str = ""
    result: bytes = b""
    evidence: Evidence | None = None
    structured: dict[str, Json] | None = None
    message: str = ""
    hint: str = ""
    clauses: tuple[Clause, ...] = ()
    expires_at: Instant | None = None

    @property
    def open(self) -> bool:
        """True while it may still change: waiting for a human, or on its way at the connector."""
        return self.state in (State.WAITING, State.APPROVED, State.EXECUTING)


class ShownTool(Struct, frozen=True, kw_only=True):
    """A tool as an agent sees it: sanitised, with the rationale property where one is needed."""

    name: str
    definition: dict[str, Json]
    consequential: bool


class AgentSide(Protocol):
    """Everything that an agent's door may ask of the node."""

    def authenticate(self, token: str) -> Run:
        """The open run that this token belongs to. Raises `Refusal` (state `unauthorized`) for a token that is
        missing, unknown, expired, revoked, or of a closed run."""
        ...

    def note_client(self, run: Run, client: str) -> None:
        """Remember the MCP client's own name and version (untrusted) with the run. Never waits."""
        ...

    def tools(self, run: Run) -> Sequence[ShownTool]:
        """What this run may at least propose, and Remit's own tools, in a deterministic order."""
        ...

    async def call(
        self,
        run: Run,
        name: str,
        arguments: dict[str, Json],
        *,
        hold: float,
        on_progress: Callable[[Json], None] | None = None,
    ) -> Answer:
        """Take one call (a connector's tool, or one of Remit's own) down the road.

        Returns at the latest after `hold` seconds, with an open `Answer` if it is not finished by then. Cancelling
        the wait never ends a started action nor an approval. Never raises but for a bug: refusals and faults are
        answers. `arguments` must have been decoded strictly.
        """
        ...

    async def wait(self, run: Run, action: str, *, hold: float) -> Answer:
        """What became of an action of this run, waiting at most `hold` seconds for an end."""
        ...
