"""The identity provider: accounts, and whether they may sign in.

`python -m remit_lab.idp --state DIR` serves it over stdio, with `--http HOST:PORT` over streamable HTTP.
"""

from __future__ import annotations

import sys

from remit_lab.estate import Estate, from_options
from remit_lab.files import Json
from remit_lab.resolve import find
from remit_lab.serving import CallRefused, Kind, Tool, open_connector, parser, serve

ACCOUNT = {"type": "string", "minLength": 1, "maxLength": 255, "description": "the account's name or id"}
REASON = {"type": "string", "maxLength": 2000, "description": "free text for the directory's own log"}


def initial(estate: Estate) -> Json:
    """Return the directory's first state: every account of the estate, enabled."""
    accounts = {
        account.account_id: {
            "account_id": account.account_id,
            "name": account.name,
            "aliases": list(account.aliases),
            "enabled": True,
            "deleted": False,
            "privileged": bool(account.privileged),
            "devices": [host.name for host in estate.hosts if host.owner == account.name],
        }
        for account in estate.accounts
    }
    return {"accounts": accounts}


def _status(account: Json) -> Json:
    return {name: account[name] for name in ("account_id", "enabled", "privileged", "devices")} | {
        "account": account["name"]
    }


def _existing(state: Json, name: str) -> Json:
    account = find(state["accounts"], name, "account")
    if account["deleted"]:
        raise CallRefused(f"account `{account['name']}` has been deleted")
    return account


def account_status(state: Json, arguments: Json) -> Json:
    """Return whether an account may sign in, whether it is privileged, and which devices it owns."""
    return _status(_existing(state, arguments["account"]))


def disable_account(state: Json, arguments: Json) -> Json:
    """Bar an account from signing in."""
    account = _existing(state, arguments["account"])
    account["enabled"] = False
    return _status(account)


def enable_account(state: Json, arguments: Json) -> Json:
    """Let an account sign in again."""
    account = _existing(state, arguments["account"])
    account["enabled"] = True
    return _status(account)


def delete_account(state: Json, arguments: Json) -> Json:
    """Delete an account for good."""
    account = _existing(state, arguments["account"])
    account.update(enabled=False, deleted=True)
    return {**_status(account), "deleted": True}


STATUS = ("account", "account_id", "enabled", "privileged", "devices")
TOOLS = (
    Tool(
        "account_status",
        "Tell whether an account may sign in, whether it is privileged, and which devices it owns.",
        {"account": ACCOUNT},
        account_status,
        ("account",),
        returns=STATUS,
    ),
    Tool(
        "disable_account",
        "Bar an account from signing in. enable_account undoes it.",
        {"account": ACCOUNT, "reason": REASON},
        disable_account,
        ("account",),
        "change",
        STATUS,
    ),
    Tool(
        "enable_account",
        "Let a disabled account sign in again.",
        {"account": ACCOUNT},
        enable_account,
        ("account",),
        "change",
        STATUS,
    ),
    Tool(
        "delete_account",
        "Delete an account for good. There is no undo.",
        {"account": ACCOUNT},
        delete_account,
        ("account",),
        "destroy",
        (*STATUS, "deleted"),
    ),
)

KIND = Kind("idp", "Identity provider: accounts and whether they may sign in.", initial, TOOLS)


def main(arguments: list[str] | None = None) -> int:
    """Serve the identity provider; return the exit status."""
    options = parser(KIND.name).parse_args(arguments)
    connector = open_connector(
        KIND, options.state, lambda: from_options(options), name=options.name, key=options.warrant_key
    )
    return serve(connector, options.http)


if __name__ == "__main__":
    sys.exit(main())
