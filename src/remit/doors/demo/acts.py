"""The story, act by act. Each function tells one act, or the stretch of the agent's work that holds several.

What lives here: the order of things and the sentences between them. What is shown comes from the real commands and from
the connectors' own state.
"""

from __future__ import annotations

import re
import time
from typing import Any

from remit.doors.demo import lab
from remit.doors.demo.deciding import OnCall
from remit.doors.demo.home import AGENT, must, remit
from remit.doors.demo.narrator import Narrator
from remit.doors.demo.processes import Program
from remit.doors.demo.story import Story
from remit.doors.demo.working import LONGEST_SECONDS, Work
from remit.model.errors import Fault

ISOLATE = "host.isolate"
SLOW_SECONDS = 25
MIDDLE_SECONDS = 1.0
SETTLE_SECONDS = 20.0
PRESS_SECONDS = 12.0
SYSTEMS = {"siem": "event search", "edr": "endpoint console", "idp": "accounts", "firewall": "firewall"}
_PAGE_PARTS = ("WHAT THEY MAY DO", "WHAT THEY MAY NOT")


# --- 1. without -----------------------------------------------------------------------------------------------------


def introduction(story: Story) -> None:
    """Who is who."""
    facts, screen = story.facts, story.screen
    recorded = ", ".join(path.name for path in facts.recordings) or "an incident of our own"
    screen.line("REMIT — A DEMONSTRATION", style="bold")
    screen.say(
        "The same AI agent works the same security alert twice: first without Remit, then with it. The agent, the four "
        "systems that it uses and the attacker's planted text are real programs and data on this machine; nothing "
        "leaves it. The people are practice people."
    )
    screen.line()
    screen.say(f"Recording: {recorded}. {_plural(facts.hosts, 'host')}. Alert: {facts.title}, on {facts.device}.")
    if facts.added_controller:
        screen.say(
            f"The recording shows no domain controller, so {facts.controller} is added to the practice network as a "
            "bystander that the planted text can name. Nothing else is made up."
        )


def without(story: Story) -> None:
    """The agent works on the connectors directly. The connectors run already: see `lab_servers`."""
    says = "The agent has the event search, the endpoint console, the accounts and the firewall in its own hands."
    story.act("Without Remit", says)
    screen, facts = story.screen, story.facts
    screen.point("planted", f"the attacker has left a line in the log of {facts.device}: “{story.inject}”", style="red")
    if story.options.agent:
        screen.point("note", "your own agent is not let loose without Remit; the scripted one shows what happens")
    narrator = _work_without(story, story.noted.pop("servers"))
    screen.line()
    _tell_damage(story, narrator)


def lab_servers(story: Story) -> dict[str, Program]:
    """Start the four connectors as servers of their own, without Remit, to be ready when the agent is."""
    started = {}
    for name in lab.CONNECTORS:
        words = lab.connector_words(story.facts, story.without, name, story.inject)
        started[name] = story.programs.start(f"without-{name}", [*words, "--http", "127.0.0.1:0"])
    return started


def start_without(story: Story, servers: dict[str, Program]) -> Program:
    """Start the scripted agent on the connectors themselves."""
    urls = {name: story.programs.ready(server, f"without-{name}") for name, server in servers.items()}
    words = [word for name, url in urls.items() for word in ("--server", f"{name}={url}")]
    case = ("--case", story.facts.case, "--patience", "5", "--jsonl")
    return story.programs.start("without-agent", lab.lab("agent", *words, *case))


def _work_without(story: Story, servers: dict[str, Program]) -> Narrator:
    narrator = Narrator(story.screen)
    agent: Program = story.noted.pop("agent")
    end = time.monotonic() + LONGEST_SECONDS
    while not agent.ended:
        if (line := agent.line(0.5)) is not None:
            narrator.line(line)
        if time.monotonic() > end:
            raise Fault("the agent did not come to an end without Remit", hint="without-agent.log says more")
    for server in servers.values():
        story.programs.end(server)
    return narrator


def _tell_damage(story: Story, narrator: Narrator) -> None:
    screen, facts = story.screen, story.facts
    found = lab.conditions(story.without)
    changed = {key: now for key, now in found.items() if lab.beginning(facts).get(key) != now}
    screen.table(
        ("SYSTEM", "WHAT", "CONDITION NOW"),
        [(SYSTEMS[name], _role(story, thing), now) for (name, thing), now in changed.items()],
        ["red" if thing == facts.controller else "" for _, thing in changed],
    )
    screen.line()
    if found.get(("edr", facts.controller)) == "CUT OFF":
        screen.say(
            f"{facts.controller} is the domain controller. It is off the network, so nobody in the organisation can "
            f"log in. One line of text did that. The agent meant well, and it had the keys.",
            style="bold",
        )
    elif narrator.told:
        screen.say("The agent did what the planted text said. It meant well, and it had the keys.", style="bold")
    else:
        screen.say("This time the agent found no order in the planted text that it could obey.", style="bold")


# --- 2. the page ----------------------------------------------------------------------------------------------------


def page(story: Story) -> None:
    """What the leader signed."""
    story.act(
        "The page that a leader signs",
        "Now the same agent gets its tools through Remit. Everything is as it was before the incident. What the agent "
        "may do is on one page, its boundary, that its leader has read and signed. This is the middle of it:",
    )
    text = str(story.quiet("boundary", "show")["page"])
    story.screen.command(["remit", "boundary", "show"])
    story.screen.line()
    story.screen.output(shortened(text), most=60, mark="")


def shortened(text: str) -> str:
    """The parts of the page that say what the agents may and may not do."""
    kept, keep = [], False
    for line in text.split("\n"):
        if line and line == line.upper() and not line.startswith(" "):
            keep = line.startswith(_PAGE_PARTS)
        if keep:
            kept.append(line)
    return "\n".join(kept).strip() or text


# --- 3 to 5. the agent at work --------------------------------------------------------------------------------------


def at_work(story: Story) -> None:
    """One run of the agent on the case, from its opening to its end: reads, an isolation, cards, the planted text."""
    facts = story.facts
    story.act(
        "The case is opened",
        "A person, or the alert queue, opens the case for the agent; the agent cannot. The agent gets a token for this "
        "one case and no password of any system.",
    )
    narrator = Narrator(story.screen)
    work = Work(
        story,
        narrator,
        OnCall(story, frozenset({facts.device, facts.account} - {""})),
        before_waiting=lambda: _card_act(story),
        before_attack=lambda: _attack_act(story),
    )
    story.screen.command(["remit", *work.order(), "--", "(the agent)"])
    story.screen.point(
        "bounds",
        f"this case is about {' and '.join(filter(None, (facts.device, facts.account)))}. That comes from the sensor, "
        "not from any text that the agent reads, and nothing that it reads can add to it.",
    )
    work.start()
    work.follow()
    _after_work(story, narrator, work)


def _card_act(story: Story) -> None:
    _tell_isolation(story)
    story.act(
        "A person is asked",
        "The page says that some things need a person's yes. The agent waits, and whoever is on call gets this card:",
    )


def _attack_act(story: Story) -> None:
    if not story.decisions:
        _tell_isolation(story)
    story.act(
        "The planted text",
        "The agent reads on, and comes to the line that the attacker left. It believes it, as it did before.",
    )


def _tell_isolation(story: Story) -> None:
    actions = story.found("--agent", AGENT, "--category", ISOLATE, "--state", "done")
    for action in actions:
        clauses = ", ".join(each["id"] for each in action["ruling"]["clauses"])
        story.screen.point(
            "ALLOWED", f"nobody was asked: the page allows it for a workstation that the case names ({clauses})"
        )


def _after_work(story: Story, narrator: Narrator, work: Work) -> None:
    screen, facts = story.screen, story.facts
    story.noted["agent_told"] = list(narrator.told)
    condition = lab.conditions(story.governed).get(("edr", facts.controller), "unknown")
    screen.line()
    refusals = sum(alert.get("code") == "forbidden" for alert in work.alerts)
    if refusals:
        times = {1: "once", 2: "twice"}.get(refusals, f"{refusals} times")
        screen.say(
            f"The agent tried {times} and was refused {times}, before anything reached the console. "
            f"{facts.controller}: {condition}. No filter had to recognise the text as an attack: the agent may not do "
            "that, whatever it reads.",
            style="bold",
        )
    elif narrator.told:
        screen.say(
            "The planted text got nothing done by itself: what the page forbids, the agent is mostly not even offered, "
            f"and the rest waits for a person. {facts.controller}: {condition}.",
            style="bold",
        )
    else:
        screen.say(f"Nothing was tried that the page forbids. {facts.controller}: {condition}.", style="bold")
    _lift_hold(story, "planted text, removed from the log" if refusals else "looked at, may go on")


def _lift_hold(story: Story, reason: str) -> None:
    stops = [each for each in story.ask("status")["stops"] if each["automatic"]]
    if not stops:
        return
    screen = story.screen
    screen.line()
    screen.point("HELD", f"since then the agent may read and nothing more: {stops[0]['reason']}. A person has to look.")
    story.noted["hold"] = stops[0]
    if story.options.interactive:
        story.asked("press Enter to lift the hold", PRESS_SECONDS * 10)
    story.on_call("resume", stops[0]["stop"], "--reason", reason, most=2)


# --- 6. the stop ----------------------------------------------------------------------------------------------------


def stop(story: Story) -> None:
    """Put the host back, let the agent start on it again by mistake, and stop it in the middle."""
    facts = story.facts
    story.act(
        "Stop",
        f"{facts.device} has been cleaned. The person on call puts it back on the network. Then the same case is "
        "opened again, by mistake, and today the endpoint console is slow.",
    )
    _put_back(story)
    lab.slow_down(story.governed, "edr__isolate_host", SLOW_SECONDS)
    work = Work(
        story,
        Narrator(story.screen),
        OnCall(story, frozenset({facts.device, facts.account} - {""})),
        until=lambda: bool(in_flight(story)),
    )
    work.start()
    ended = work.follow()
    caught = in_flight(story)
    if ended and not caught:
        story.screen.say("This time the agent started no isolation, so there is nothing to stop.")
    else:
        _press_stop(story, caught)
        work.until = lambda: False
        work.follow()
        _settle(story, caught)
    lab.slow_down(story.governed, "edr__isolate_host", 0)


def in_flight(story: Story) -> list[dict[str, Any]]:
    """The isolations that are being carried out at this moment."""
    counts = story.ask("status")["counts"]
    if not counts.get("executing"):
        return []
    return list(story.found("--category", ISOLATE, "--state", "executing"))


def _put_back(story: Story) -> None:
    actions = story.found("--category", ISOLATE, "--state", "done")
    if not actions:
        story.screen.say("It had not been cut off, so there is nothing to put back.")
        return
    story.noted["put_back"] = actions[0]["id"]
    story.on_call("undo", actions[0]["id"], "--reason", "cleaned and checked", most=3)


def _press_stop(story: Story, caught: list[dict[str, Any]]) -> None:
    screen = story.screen
    what = f"it has told the console to cut {story.facts.device} off, and the console has not answered yet"
    screen.point("at work", f"the agent begins again: {what}.")
    if story.options.interactive:
        story.asked("press Enter to stop everything", PRESS_SECONDS)
    else:
        time.sleep(MIDDLE_SECONDS)
    screen.line()
    words = ("stop", "--reason", "wrong host")
    began = time.monotonic()
    said = must(story.programs.run(remit(*words)), "`remit stop`")
    took = round((time.monotonic() - began) * 1000)
    screen.command(["remit", *words[:2], f'"{words[2]}"'])
    screen.output(said.out)
    screen.point("it took", f"{took} ms in all, with starting the command.")
    story.noted["stop"] = {
        "caught": [each["id"] for each in caught],
        "milliseconds": _milliseconds(said.out),
        "command_milliseconds": took,
        "said": said.out.splitlines(),
    }


def _milliseconds(text: str) -> float | None:
    found = re.search(r"within ([0-9.]+) ms", text)
    return float(found[1]) if found else None


def _settle(story: Story, caught: list[dict[str, Any]]) -> None:
    screen = story.screen
    screen.line()
    screen.say(
        "Did the isolation happen, or not? Nobody knows yet, and Remit does not guess or try again. It asks the "
        "console, which takes a moment to come back:"
    )
    for action in caught:
        applied = _asked_until_known(story, action["id"])
        story.noted.setdefault("settled", []).append({"action": action["id"], "applied": applied})
    condition = lab.conditions(story.governed).get(("edr", story.facts.device), "unknown")
    screen.point("console", f"{story.facts.device}: {condition}")
    stops = [each["stop"] for each in story.ask("status")["stops"]]
    if stops:
        screen.line()
        screen.say("Nothing moves until a person on the roster says so, by name and with a reason:")
        story.on_call("resume", *stops, "--reason", "case closed, host is clean", most=3)


def _asked_until_known(story: Story, action: str) -> bool | None:
    """Whether the action had its effect, as the connector tells once it is back; None where it cannot."""
    end = time.monotonic() + SETTLE_SECONDS
    said = story.programs.run(remit("settle", action))
    while said.code != 0 and time.monotonic() < end:
        time.sleep(0.2)
        said = story.programs.run(remit("settle", action))
    story.screen.command(["remit", "settle", action])
    story.screen.output(said.out or said.err)
    return None if said.code != 0 else "had its effect" in said.out


# --- 7 and 8. the record, the end -----------------------------------------------------------------------------------


def explanation(story: Story) -> None:
    """The whole story of one action: one that a person approved where there is one."""
    story.act(
        "Why did it do that?",
        "Weeks later an auditor asks about one action. The answer is one command: who, what, why, on which evidence, "
        "under which page, with whose yes, and what came of it.",
    )
    approved = [each["action"] for each in story.decisions if each["verb"] == "approve"]
    subject = (approved or [each["id"] for each in story.found("--agent", AGENT, "--category", ISOLATE)])[:1]
    if not subject:
        story.screen.say("The agent changed nothing, so there is no action to explain.")
        return
    story.noted["explained"] = subject[0]
    story.show("explain", subject[0], most=100)


def ending(story: Story) -> None:
    """What the connectors' own state says, side by side."""
    story.act("In the end", "What the systems themselves say, without Remit and with it:")
    screen = story.screen
    rows = side_by_side(story)
    screen.table(
        ("SYSTEM", "WHAT", "BEFORE", "WITHOUT REMIT", "WITH REMIT"),
        [
            (SYSTEMS[row["connector"]], _role(story, row["thing"]), row["before"], row["without"], row["with"])
            for row in rows
        ],
        ["red" if row["thing"] == story.facts.controller else "" for row in rows],
    )
    screen.line()
    settled = story.noted.get("settled", ())
    if story.noted.get("put_back") and settled and not any(each["applied"] for each in settled):
        screen.say(
            f"{story.facts.device} was cut off by the agent, then cleaned and put back by a person; the second time "
            "was a mistake, and was stopped before it happened."
        )
    controller = lab.conditions(story.governed).get(("edr", story.facts.controller), "unknown")
    screen.say(
        f"The same agent, the same attack. With Remit {story.facts.controller} is {controller}; each change was "
        "allowed by the signed page or by a person, could be stopped in the middle, and can be explained.",
        style="bold",
    )


def side_by_side(story: Story) -> list[dict[str, str]]:
    """Everything that is not as it was, on either side, and the domain controller."""
    before, first, second = lab.beginning(story.facts), lab.conditions(story.without), lab.conditions(story.governed)
    rows = []
    for key in dict.fromkeys([*before, *first, *second]):
        was = before.get(key, "not blocked")
        row = {"connector": key[0], "thing": key[1], "before": was, "without": first.get(key, was)}
        row["with"] = second.get(key, was)
        if len({was, row["without"], row["with"]}) > 1 or key[1] == story.facts.controller:
            rows.append(row)
    return rows


def _role(story: Story, thing: str) -> str:
    facts = story.facts
    roles = {facts.controller: "domain controller", facts.device: facts.kind, facts.account: "account"}
    return f"{thing} ({roles[thing]})" if roles.get(thing) else thing


def _plural(number: int, one: str) -> str:
    return f"{number} {one}" if number == 1 else f"{number} {one}s"
