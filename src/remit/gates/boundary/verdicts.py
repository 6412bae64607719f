"""What the boundary says of an agent's verdict on its case: which of them a person must agree to.

What lives here: the ruling on a verdict, about the targets that the run was opened for. What never may: a verdict's
reasons (nothing that an agent says of them changes a ruling), a way to forbid an agent its opinion.

A verdict that no `[[verdict]]` is about is put on record as it is. A target of which something is not known, and a run
without targets, match whatever a `[[verdict]]` states: either may be about the worst thing there is.
"""

from __future__ import annotations

from collections.abc import Sequence

from remit.gates.boundary.evaluator import strictest
from remit.gates.boundary.matching import ANYTHING, Profiles, certainty
from remit.gates.boundary.words import ALL, BUILT_IN, Boundary, VerdictRule
from remit.model.words import Clause, Decision, Ruling, Target

_FREE = Clause("verdict", Decision.AUTO, BUILT_IN["verdict"])
_APPROVERS = Clause("approvers", Decision.FORBID, BUILT_IN["approvers"])


def rule_verdict(boundary: Boundary, digest: str, agent: str, verdict: str, targets: Sequence[Target]) -> Ruling:
    """The ruling on a verdict of an agent on a case about `targets`: `auto`, or `approve` with what is asked, or
    `forbid` where the clauses that ask leave nobody who could say yes. `digest` is the boundary's."""
    asking = [each for each in boundary.verdicts if _about(each, agent, verdict)]
    if asking:
        profiles = Profiles(boundary)
        known = [profiles.facts(target) for target in targets] or [ANYTHING]
        asking = [each for each in asking if any(certainty(each.targets, facts) for facts in known)]
    if not asking:
        return Ruling(decision=Decision.AUTO, clauses=(_FREE,), boundary=digest)
    ask = strictest(each.ask for each in asking)
    if not ask.roles:
        return Ruling(decision=Decision.FORBID, clauses=(_APPROVERS,), boundary=digest)
    return Ruling(decision=Decision.APPROVE, clauses=tuple(map(_clause, asking)), ask=ask, boundary=digest)


def _about(each: VerdictRule, agent: str, verdict: str) -> bool:
    return verdict in each.verdicts and (ALL in each.agents or agent in each.agents)


def _clause(each: VerdictRule) -> Clause:
    return Clause(each.id, each.then, each.comment or "a person must agree to this verdict on such a case")
