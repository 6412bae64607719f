"""`remit help`: the overview, a command's own help, and the six commands of the night."""

from __future__ import annotations

import argparse
import importlib

from remit.doors.cli.answering import show
from remit.model.errors import Misuse

ON_CALL = """\
the six commands of the night

  remit status               what is going on, and the next step
  remit approvals ACTION     the card: who wants what, the worst case, the undo, the time left
  remit approve ACTION       yes, once; `remit reject ACTION` is no, and so is no answer
  remit stop                 stop everything, now: no questions, no signature, it holds across restarts
  remit settle ACTION        what became of an action that was cut or lost: asks the connector, or takes your word
  remit resume --reason WHY  lift the stop when it is safe to go on

for example: you are paged, a card waits

  $ remit status
  waiting      1 action waits for a human; the oldest: account.disable on jdoe, rejected at 2026-11-22T03:31:00Z …
  $ remit approvals act_4k9…          # read the worst case and the undo
  $ remit reject act_4k9…             # not sure? reject: nothing happens, and the agent is told so

and if anything looks wrong

  $ remit stop
  STOPPED (cut): everything    stop stp_7q2…
  severed or listed within 3.1 ms

a file named STOP in the home stops everything, too; to go on, remove the file, then `remit resume --reason WHY`

`remit status` says LOG: the record cannot be proven, so every action is refused. `remit log status` says why, and
docs/LOG.md what to do; move, restore and delete nothing before you have read it
"""
CONNECT = """\
usage: remit connect [--home DIR | --socket PATH]

bridge an agent's stdio to the gateway: what an MCP client starts in place of its servers

options:
  --home DIR     the home folder of the gateway (default: $REMIT_HOME)
  --socket PATH  the gateway's socket for agents, for one that may not look into the home (default: $REMIT_SOCKET)

the run's token comes from $REMIT_TOKEN or the file $REMIT_TOKEN_FILE, never from the command line
"""
TOPICS = {"on-call": ON_CALL}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What about."""
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help="`on-call`, or a command")


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    from remit.doors.cli.main import COMMANDS, overview, parser_of

    topic = arguments.topic
    if topic is None:
        text = overview()
    elif topic in TOPICS:
        text = TOPICS[topic]
    elif topic == "connect":
        text = CONNECT
    elif topic in COMMANDS:
        text = parser_of(topic, importlib.import_module(f"remit.doors.cli.{topic}")).format_help()
    else:
        raise Misuse(f"there is no help on `{topic}`", hint="`remit help on-call`, or a command's name")
    show(arguments, {"help": text}, text)
    return 0
