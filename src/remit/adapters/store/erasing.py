"""The store's side of erasing: what a committed step removed is driven out of every file, keys last.

What lives here: finishing, and saying which keys are still to be destroyed. What never may: deciding what is erased.

The order makes a crash harmless: a step removes rows and lists their keys in `doomed_keys` in one commit; then the
write-ahead log is emptied into the database, which overwrites what it frees (`secure_delete`); then the keys are
destroyed; then the list is cleared. Each part may be repeated.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

from remit.adapters.payloads.sealing import Sealer
from remit.adapters.store import statements as sql
from remit.model.errors import Fault

Errand = Callable[[sqlite3.Connection], Any]
OnWriter = Callable[[Errand], Awaitable[Any]]

_PAGES_AT_ONCE = 1000
"""Pages that are given back between two batches: some 10 ms of the writer's time."""


def doomed(connection: sqlite3.Connection) -> list[int]:
    """The slots of keys that must be destroyed still."""
    return [slot for (slot,) in connection.execute(sql.DOOMED)]


def give_back(connection: sqlite3.Connection) -> bool:
    """Give some freed pages back to the file system; whether there are more that can be."""
    (before,) = connection.execute("PRAGMA freelist_count").fetchone()
    connection.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()
    (after,) = connection.execute("PRAGMA freelist_count").fetchone()
    return bool(0 < after < before)


def empty_log(connection: sqlite3.Connection) -> None:
    """Empty the write-ahead log into the database. Raises `Fault` where a reader holds it."""
    ((busy, *_),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if busy:
        raise Fault("what was removed is still in the write-ahead log: somebody reads it", hint="it is tried again")


async def purge(on_writer: OnWriter, sealer: Sealer, reach: Callable[[str], None]) -> int:
    """While the store runs: the whole order, piece by piece on the writer's thread; how many keys were destroyed.
    `reach` is told of the moments between."""
    slots: list[int] = await on_writer(doomed)
    while await on_writer(give_back):
        pass
    if slots:
        reach("purge_pages_given_back")
        await on_writer(empty_log)
        reach("purge_log_emptied")
        await asyncio.to_thread(sealer.destroy, slots)
        reach("purge_keys_destroyed")
        await on_writer(lambda connection: clear(connection, slots))
    return len(slots)


def clear(connection: sqlite3.Connection, slots: list[int]) -> None:
    """Strike destroyed keys off the list, in a transaction of its own."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(sql.UNDOOM, [(slot,) for slot in slots])
        connection.execute("COMMIT")
    except sqlite3.Error:
        connection.execute("ROLLBACK")
        raise


def finish(connection: sqlite3.Connection, sealer: Sealer) -> None:
    """At opening: finish what a crash left. Raises `Fault` where the keys are missing or cannot be destroyed."""
    sealer.ready(sealed_before=_sealed(connection))
    slots = doomed(connection)
    if slots:
        while give_back(connection):
            pass
        empty_log(connection)
        sealer.destroy(slots)
        clear(connection, slots)


def _sealed(connection: sqlite3.Connection) -> bool:
    return any(connection.execute(text).fetchone() is not None for text in sql.ANY_PAYLOAD)
