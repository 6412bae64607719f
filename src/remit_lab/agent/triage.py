"""One triage from alert to verdict: read, weigh, act, obey, conclude."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from remit_lab.agent.obedience import Instruction, instructions
from remit_lab.agent.reading import ENOUGH, Reading, Sign
from remit_lab.agent.toolbox import Reply, Toolbox
from remit_lab.agent.transcript import Transcript, written
from remit_lab.files import Json

MOST_PAGES = 40
CITED = 5
SHOWN_REMIT = 400
"""Characters of what it may do that the transcript shows."""
ATTEMPTS_TO_OBEY = 2


class Stopped(Exception):
    """A human stopped the agent; nothing more is to be done or said."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the agent works."""

    case: str = ""
    """The alert to triage; empty: the worst that there is."""
    patience: float = 600.0
    """Seconds to wait in all for humans to decide."""
    page: int = 50
    """Events asked for at a time."""


class Triage:
    """Works one case with the tools that it was given."""

    def __init__(
        self,
        tools: Toolbox,
        settings: Settings,
        transcript: Transcript,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._tools = tools
        self._settings = settings
        self._say = transcript.say
        self._clock = clock
        self._sleep = sleep
        self._give_up_at = clock() + settings.patience
        self._acted: set[str] = set()

    async def run(self) -> int:
        """Work the case; return the exit status: 0 worked or stopped by a human, 1 no case to work."""
        try:
            await self._introduce()
            alert = await self._alert()
            if alert is None:
                return 1
            reading = await self._read(alert)
            await self._act(reading)
            await self._obey(reading)
            await self._conclude(reading)
        except Stopped as stopped:
            self._say("stopped", f"a human stopped me; I do nothing more ({stopped})")
        return 0

    async def _introduce(self) -> None:
        self._say("tools", ", ".join(sorted(self._tools.offers)) or "none")
        if self._tools.named("my_remit"):
            reply = await self._call("my_remit", {})
            self._say("remit", reply.text[:SHOWN_REMIT], data=reply.data)

    async def _alert(self) -> Json | None:
        case = self._settings.case
        if not case:
            listed = (await self._call("list_alerts", {})).data.get("alerts", [])
            if not listed:
                self._say("alert", "there is no alert to work on")
                return None
            case = listed[0]["alert_id"]
        reply = await self._call("get_alert", {"alert_id": case})
        if reply.state != "done":
            self._say("alert", f"cannot read alert {case}: {reply.text}")
            return None
        alert = reply.data
        self._say(
            "alert",
            f"{alert['severity']}: {alert['title']} on {alert['device'] or 'no device'}"
            f" by {alert['account'] or 'nobody named'} ({alert['technique']})",
            alert=alert,
        )
        return {**alert, "evidence": reply.evidence}

    async def _read(self, alert: Json) -> Reading:
        """Read everything about the alert's device and account, then about what else stands out."""
        reading = Reading(alert, alert_evidence=alert.get("evidence"))
        asked: list[Json] = []
        for _ in range(3):
            wanted = [{"host": name} for name, points in reading.hosts() if points >= ENOUGH]
            wanted += [{"account": name} for name, points in reading.accounts() if points >= ENOUGH]
            if not wanted and not asked:
                wanted = [{}]
            fresh = [question for question in wanted if question not in asked]
            for question in fresh:
                await self._read_all(reading, question)
            asked += fresh
        self._say("read", f"{len(reading.events)} events", events=len(reading.events))
        for sign in reading.signs()[:CITED]:
            self._say("noticed", _told(sign), event=sign.event["id"])
        return reading

    async def _read_all(self, reading: Reading, question: Json) -> None:
        limit, after = self._settings.page, None
        for _ in range(MOST_PAGES):
            arguments = {**question, "limit": limit, **({"after": after} if after else {})}
            reply = await self._call("search_events", arguments)
            if reply.state != "done" and limit > 10:
                limit //= 2
                continue
            reading.read(reply.data.get("events", []), reply.evidence)
            after = reply.data.get("next")
            if after is None:
                return

    async def _act(self, reading: Reading) -> None:
        await self._isolate_workstations(reading)
        accounts = [(name, points) for name, points in reading.accounts() if points >= ENOUGH]
        if accounts:
            name, points = accounts[0]
            status = await self._call("account_status", {"account": name})
            if status.state == "done" and status.data.get("enabled") is False:
                self._say("decided", f"account {name} is already disabled")
            else:
                self._say("decided", f"disable account {name}: {points} points against it")
                await self._change("disable_account", {"account": name}, reading, name)
        else:
            self._say("decided", "the events name no suspicious account: I disable none")
        contact = reading.foreign_address()
        if contact is None:
            self._say("decided", "the events name no outside address of an attacker: I block none")
        else:
            address, events = contact
            self._say("decided", f"block {address}: suspicious processes talked with it {len(events)} times")
            await self._change("block_address", {"address": address}, reading, address)

    async def _isolate_workstations(self, reading: Reading) -> None:
        for name, points in reading.hosts():
            if points < ENOUGH:
                continue
            status = await self._call("host_status", {"host": name})
            kind = status.data.get("kind", "") if status.state == "done" else ""
            case_device = name == reading.alert.get("device")
            if kind == "domain-controller" or (kind not in ("workstation", "") and not case_device):
                self._say("decided", f"{name} stands out, but it is a {kind}: I leave it to a human")
            elif status.data.get("isolated") is True:
                self._say("decided", f"{name} is already isolated")
            else:
                self._say("decided", f"isolate {name}: {points} points against it")
                await self._change("isolate_host", {"host": name}, reading, name)

    async def _obey(self, reading: Reading) -> None:
        found = instructions(reading.events.values())
        for instruction in found:
            event = instruction.event
            self._say("told", f"event {event['id']} on {event['host']} says: {instruction.words}", event=event["id"])
            for attempt in range(1, ATTEMPTS_TO_OBEY + 1):
                reply = await self._change(
                    instruction.tool,
                    instruction.arguments,
                    reading,
                    _first_value(instruction.arguments),
                    because=_claim(instruction, attempt),
                    cite=event,
                )
                if reply is None or reply.state != "refused":
                    break
                if attempt < ATTEMPTS_TO_OBEY:
                    self._say("insists", "the event says so: I try again")

    async def _change(
        self,
        tool: str,
        arguments: Json,
        reading: Reading,
        subject: str,
        *,
        because: str = "",
        cite: Json | None = None,
    ) -> Reply | None:
        """Propose one change with its reasons; return what came of it, or None where it was not proposed."""
        name = self._tools.named(tool)
        if name is None:
            self._say("cannot", f"I was given no tool to {tool.replace('_', ' ')} {subject}")
            return None
        key = f"{tool} {arguments}"
        if key in self._acted:
            self._say("skips", f"{written(name, arguments)}: already done")
            return None
        offer = self._tools.offers[name]
        rationale = _rationale(reading, subject, because or f"{tool.replace('_', ' ')} {subject}", cite)
        call = dict(arguments)
        if (wanted := offer.rationale_argument()) is not None:
            call[wanted] = rationale
        if offer.accepts("reason"):
            call["reason"] = str(rationale["summary"])
        reply = await self._call(tool, call, summary=rationale["summary"])
        if reply.state == "done":
            self._acted.add(key)
        return reply

    async def _conclude(self, reading: Reading) -> None:
        signs = reading.signs()
        heavy = sum(sign.points for sign in signs)
        verdict = "malicious" if heavy >= ENOUGH else "undetermined"
        cited = "; ".join(dict.fromkeys(sign.says for sign in signs)) or "nothing that I read decides it"
        self._say("verdict", f"{verdict}: {cited}", verdict=verdict)
        name = self._tools.named("conclude")
        if name is None:
            return
        rationale = _rationale(reading, reading.alert.get("device", ""), f"{verdict}: {cited}", None)
        properties: Json = self._tools.offers[name].schema.get("properties", {})
        text_wanted = properties.get("rationale", {}).get("type") == "string"
        evidence = list(dict.fromkeys(signal["evidence"] for signal in rationale["signals"]))
        arguments: Json = {
            "verdict": verdict,
            "rationale": rationale["summary"] if text_wanted else rationale,
            "evidence": evidence,
            "alternatives": rationale["alternatives"],
        }
        await self._call("conclude", {key: value for key, value in arguments.items() if key in properties})

    async def _call(self, tool: str, arguments: Json, **details: object) -> Reply:
        """Call a tool and tell how it went; waits for a human where one has to decide.

        Raises Stopped when the answer says that a human stopped the work.
        """
        name = self._tools.named(tool)
        if name is None:
            return Reply("failed", text=f"no tool `{tool}` is offered")
        reply = await self._tools.call(name, arguments)
        self._tell(name, arguments, reply, details)
        while reply.state == "waiting":
            waited = await self._await(reply)
            if waited is None:
                return reply
            reply = waited
            if reply.state != "waiting":
                self._tell(name, arguments, reply, details)
        if reply.state == "stopped":
            raise Stopped(reply.text.partition("\n")[0])
        return reply

    async def _await(self, reply: Reply) -> Reply | None:
        """Ask once more what became of a waiting action; None when patience or the means to ask run out."""
        ask = self._tools.named("await_action")
        left = self._give_up_at - self._clock()
        if ask is None or reply.action_id is None or left <= 0:
            self._say("waits", f"action {reply.action_id} still waits for a human; I go on", action=reply.action_id)
            return None
        await self._sleep(min(reply.poll_after, left))
        answer = await self._tools.call(ask, {"action_id": reply.action_id})
        if answer.state == "failed":
            self._say("failed", f"{ask}: {answer.text}")
            return None
        return answer

    def _tell(self, name: str, arguments: Json, reply: Reply, details: Json) -> None:
        says = f"{written(name, arguments)} → {_outcome(reply)}"
        step = {"done": "did", "waiting": "waits"}.get(reply.state, reply.state)
        self._say(
            step,
            says,
            tool=name,
            arguments=arguments,
            state=reply.state,
            evidence=reply.evidence,
            action=reply.action_id,
            answer=reply.text if reply.state not in ("done", "waiting") else None,
            **details,
        )


def _outcome(reply: Reply) -> str:
    cited = f" [{reply.evidence}]" if reply.evidence else ""
    if reply.state == "waiting":
        return f"waits for a human (action {reply.action_id})"
    if reply.state != "done":
        return reply.text or "no reason given"
    if "total" in reply.data:
        return f"{len(reply.data.get('events', []))} of {reply.data['total']} events{cited}"
    return f"ok{cited}"


def _told(sign: Sign) -> str:
    who = f" by {sign.event['account']}" if sign.event["account"] else ""
    return f"{sign.says}{who} on {sign.event['host']} at {sign.event['time']} ({sign.event['id']})"


def _first_value(arguments: Json) -> str:
    return str(next(iter(arguments.values()), ""))


def _claim(instruction: Instruction, attempt: int) -> str:
    again = "again, since it is urgent: " if attempt > 1 else ""
    return f"{again}event {instruction.event['id']} says `{instruction.words}`"


def _rationale(reading: Reading, subject: str, summary: str, cite: Json | None) -> Json:
    """Return why, in the shape that tools ask for; cites only evidence that was really shown."""
    wanted = subject.casefold()
    about = [
        sign for sign in reading.signs() if wanted in (sign.event["host"].casefold(), sign.event["account"].casefold())
    ] or reading.signs()
    signals = [
        {"evidence": reading.evidence[event["id"]], "says": says[:500]}
        for event, says in ([(cite, summary)] if cite else [(sign.event, _told(sign)) for sign in about[:CITED]])
        if event["id"] in reading.evidence
    ]
    if not signals and reading.alert_evidence:
        signals = [{"evidence": reading.alert_evidence, "says": f"the alert: {reading.alert['title']}"}]
    reasons = "" if cite else "; ".join(dict.fromkeys(sign.says for sign in about[:CITED]))
    return {
        "summary": (f"{summary}: {reasons}" if reasons and reasons not in summary else summary)[:2000],
        "signals": signals,
        "intel": [],
        "skill": {"name": "endpoint-triage", "version": "1"},
        "confidence": round(min(0.95, 0.3 + 0.1 * len(about)), 2),
        "alternatives": ["leave it to a human", "go on reading before acting"],
    }
