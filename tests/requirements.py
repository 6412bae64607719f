"""The promises: what Remit guarantees, each with the place that states it.

Every promise is shown by at least one test marked `@pytest.mark.promise("P4")`, and every mark names a
promise of this list; `test_requirements.py` fails both ways. `python -m tests.requirements` prints
`docs/PROMISES.md`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promise:
    """One guarantee: its id, its text in Markdown, and the page and heading that states it."""

    id: str
    text: str
    source: str


_PAGE = "docs/PROMISES.md"

PROMISES: tuple[Promise, ...] = (
    Promise(
        "P1",
        "Nothing executes without a durable intent. If the record cannot be written, the action is "
        "refused. (A stop is the exception: it acts first and is recorded next.)",
        f"{_PAGE}#p1",
    ),
    Promise(
        "P2",
        "No code of Remit's reaches a connector except through the steward.",
        f"{_PAGE}#p2",
    ),
    Promise(
        "P3",
        "A boundary or a roster without the needed valid signatures is not loaded. After its "
        "`not_after` every `auto` becomes `approve`.",
        f"{_PAGE}#p3",
    ),
    Promise(
        "P4",
        "An approval is good for one action, once, in one home, until it expires; timeouts reject. "
        "Change one byte of the arguments, or what the target name means, and it is another action. "
        "Nobody approves for an agent they own where the boundary says so, nor in a run they opened.",
        f"{_PAGE}#p4",
    ),
    Promise(
        "P5",
        "What a run may do never grows while it runs, except by a recorded human decision. Authority "
        "is computed when the run is opened; what the agent reads never adds to it. No confidence or "
        "argument of the agent's changes a ruling.",
        f"{_PAGE}#p5",
    ),
    Promise(
        "P6",
        "Once `stop` has returned, nothing new starts in its scope, reads included under `cut`, and "
        'everything that was in flight has been severed or is listed as "may still land". A node that '
        "cannot confirm that it is not stopped refuses everything.",
        f"{_PAGE}#p6",
    ),
    Promise(
        "P7",
        "An unknown outcome stays `unknown`: never retried silently, its quota stays spent, further "
        "changes to that target through that connector need a human until it is settled.",
        f"{_PAGE}#p7",
    ),
    Promise(
        "P8",
        "Unknown tool, unknown target, missing attribute, changed definition, lost counter, clock "
        "jump: the most restrictive reading.",
        f"{_PAGE}#p8",
    ),
    Promise(
        "P9",
        "The agent never sees a credential but its own run token. No secret reaches a record, a log "
        "line or an error in clear.",
        f"{_PAGE}#p9",
    ),
    Promise(
        "P10",
        "Quotas count distinct targets over a sliding window (and all actions, where capped); one "
        "counter shared by all nodes; reserved in the transaction that rules; a target counts from "
        "reservation until its last possible effect plus the window; every member of a batch counts.",
        f"{_PAGE}#p10",
    ),
    Promise(
        "P11",
        "Every refusal says, to the agent and to the human, which clause refused and what would be needed.",
        f"{_PAGE}#p11",
    ),
    Promise(
        "P12",
        "Anything in the journal can be reconstructed: who, what, why, on which evidence, under which "
        "boundary signed by whom, approved by whom after how long, with which warrant, with what "
        "result.",
        f"{_PAGE}#p12",
    ),
)

_INTRODUCTION = """# The promises

What Remit guarantees, whoever the agent is and whatever it reads. Each promise is shown by tests that carry
its id (`pytest.mark.promise`); a promise without a test, or a test that names an unknown promise, fails the
build. Who is trusted with what is in [THREAT-MODEL.md](THREAT-MODEL.md), what is not covered in
[LIMITATIONS.md](LIMITATIONS.md).
"""


def page() -> str:
    """The whole text of `docs/PROMISES.md`."""
    return _INTRODUCTION + "".join(f"\n## {promise.id}\n\n{promise.text}\n" for promise in PROMISES)


if __name__ == "__main__":
    print(page(), end="")
