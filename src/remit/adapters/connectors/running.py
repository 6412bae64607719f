"""The connectors of a home while it runs: started, ended and restarted as their files change; what they offer.

What lives here: which connectors run, their tool lists, and striking secrets out of what comes back. What never may: a
decision on what is usable.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from remit.adapters.connectors import rpc, stderr
from remit.adapters.connectors.connector import Connector
from remit.adapters.connectors.settings import ConnectorSettings, ConnectorStatus
from remit.adapters.credentials.secrets import resolve
from remit.flow.ports import AnswerLost, NotSent, UpstreamRefused
from remit.model.definitions import read_definition
from remit.model.display import redact
from remit.model.errors import Fault, RemitError
from remit.model.manifest import Manifest
from remit.model.words import SECOND, CredentialClass, Definition, Instant, Json

log = logging.getLogger("remit.connectors")
GRACE = 1.0
STDERR = ".stderr"
LISTING_SECONDS = 25.0


class _NotHeard(NotSent):
    """The connector came up anew, and what it offers now has not been heard: nothing was sent."""


class RunningConnectors:
    """Fulfils `remit.flow.ports.Connectors` and `remit.flow.reloading.Offers`. Owned by the event loop; `sever` may be
    called from any thread."""

    def __init__(
        self,
        *,
        warrant_key_file: Path,
        stderr_folder: Path,
        base: Path,
        environment: Mapping[str, str],
        now: Callable[[], Instant],
        jitter: Callable[[], float],
    ) -> None:
        self._warrant_key_file = warrant_key_file
        self._stderr_folder = stderr_folder
        self._base = base
        self._environment = environment
        self._now = now
        self._jitter = jitter
        self._running: dict[str, Connector] = {}
        self._digests: dict[str, str] = {}
        self._manifests: dict[str, Manifest] = {}
        self._definitions: dict[str, tuple[Definition, ...]] = {}
        self._problems: dict[str, str] = {}
        self._secrets: dict[str, tuple[str, ...]] = {}
        self._cuttable: set[str] = set()
        self._listings: set[asyncio.Task[None]] = set()
        self._heard: dict[str, int] = {}  # of each connector, the restart after which its tools were listed
        self.on_change: Callable[[], None] = lambda: None  # set once, by the node

    # --- fulfilling Offers ---------------------------------------------------------------------------------------

    def definitions(self) -> Mapping[str, Sequence[Definition]]:
        """See `Offers`. A connector that went away keeps its last list: its tools are refused, not unknown."""
        return self._definitions

    async def apply(self, manifests: Mapping[str, Manifest]) -> None:
        """See `Offers`. Returns when each new one has come up or failed once."""
        gone = [name for name in self._running if self._digests[name] != _digest(manifests.get(name))]
        await asyncio.gather(*(self._end(name) for name in gone))
        new = [manifest for name, manifest in manifests.items() if name not in self._running]
        await asyncio.gather(*(self._begin(manifest) for manifest in new))

    async def close(self) -> None:
        """End all of them."""
        await asyncio.gather(*(self._end(name) for name in list(self._running)))
        for task in self._listings:
            task.cancel()

    def statuses(self) -> dict[str, ConnectorStatus]:
        """How each one is; one that could not even be set up is down, with the reason."""
        found = {name: connector.status for name, connector in self._running.items()}
        for name, why in self._problems.items():
            if name not in found or not found[name].reason:
                since = found[name].since if name in found else self._now()
                found[name] = ConnectorStatus(state="down", since=since, reason=why)
        return {
            name: replace(each, reason=self._clean(name, each.reason)[: 2 * rpc.MAX_WORDS])
            for name, each in found.items()
        }

    def stderr_tail(self, name: str) -> str:
        """The last of what a connector's process wrote to stderr, without secrets."""
        return self._running[name].stderr_tail() if name in self._running else ""

    # --- fulfilling Leavings -------------------------------------------------------------------------------------

    async def forget(self, connectors: Iterable[str]) -> None:
        """See `Leavings`. One that does not run any more may have left a file."""
        for name in connectors:
            if name in self._running:
                self._running[name].forget_stderr()
            try:
                await asyncio.to_thread(stderr.empty, self._stderr_file(name))
            except OSError as error:
                why = (error.strerror or str(error)).lower()
                raise Fault(
                    f"what `{name}` wrote to stderr cannot be emptied ({why})", hint="look at the disk"
                ) from None

    async def let_go(self, age: Instant) -> None:
        """See `Leavings`. Also of what connectors wrote that are there no more."""
        now = self._now() / SECOND
        names = {path.name.partition(STDERR)[0] for path in self._stderr_folder.glob(f"*{STDERR}*")}
        for name in sorted(names):
            try:
                await asyncio.to_thread(stderr.let_go, self._stderr_file(name), now, age / SECOND)
            except OSError as error:
                why = (error.strerror or str(error)).lower()
                raise Fault(
                    f"what `{name}` wrote to stderr cannot be let go of ({why})", hint="look at the disk"
                ) from None

    def _stderr_file(self, name: str) -> Path:
        return self._stderr_folder / f"{name}{STDERR}"

    # --- fulfilling Connectors -----------------------------------------------------------------------------------

    async def call(
        self,
        connector: str,
        tool: str,
        arguments: bytes,
        meta: Mapping[str, Json],
        *,
        action: str,
        handed_over: Callable[[], None],
        on_progress: Callable[[Json], None] | None = None,
    ) -> bytes:
        """See `Connectors`. What the connector was given as a secret, and the credential of this call, are struck out
        of all that it says: its answer, its errors, its progress."""
        known = self._running.get(connector)
        if known is None:
            raise NotSent(self._problems.get(connector) or f"connector `{connector}` does not run")
        standing = self._secrets.get(connector, ())
        given = (*standing, *(value for value in meta.values() if isinstance(value, str)))
        tell = _Cleaned(on_progress, given) if on_progress is not None and given else on_progress
        last_look = partial(self._last_look, known, tool, self._offered(connector, tool), handed_over)
        for again in (True, False):
            try:
                raw = await known.call(tool, arguments, meta, action=action, handed_over=last_look, on_progress=tell)
                break
            except _NotHeard:
                if not again:
                    raise
                await self._hear(known)
            except UpstreamRefused as error:
                raise UpstreamRefused(error.code, redact(error.message, given)[: rpc.MAX_WORDS]) from None
        # A warrant is good once and was used: it is looked for as it is, because every call has another one.
        echoed = any(each.encode() in raw for each in given[len(standing) :])
        return redact(raw.decode(errors="replace"), given).encode() if standing or echoed else raw

    def _offered(self, connector: str, tool: str) -> str:
        """The digest of a tool's definition as the connector offers it, as far as was heard."""
        return next((each.digest for each in self._definitions.get(connector, ()) if each.name == tool), "")

    def _last_look(self, known: Connector, tool: str, offered: str, handed_over: Callable[[], None]) -> None:
        """INVARIANT: nothing is sent to a process whose tools were not listed, nor to a tool that has changed since
        the call began: another program may have come up under the same name."""
        name = known.settings.name
        if self._heard.get(name) != known.status.restarts:
            raise _NotHeard(f"connector `{name}` has restarted, and has not said yet what it offers")
        if self._offered(name, tool) != offered:
            raise NotSent(f"connector `{name}` offers `{tool}` with another definition since it restarted")
        handed_over()

    async def _hear(self, known: Connector) -> None:
        """Wait until what the connector offers has been listed, or could not be."""
        name = known.settings.name
        if not any(task.get_name() == name for task in self._listings) and name in self._manifests:
            self._list_soon(known, self._manifests[name])
        listings = [task for task in self._listings if task.get_name() == name]
        if listings:
            await asyncio.wait(listings, timeout=LISTING_SECONDS)

    def sever(self, connector: str, actions: Iterable[str]) -> tuple[bool, tuple[str, ...]]:
        """See `Connectors`. Where the manifest says that it is not cuttable, a dead process proves nothing."""
        known = self._running.get(connector)
        if known is None:
            return False, ()
        certain, others = known.sever(actions)
        return certain and connector in self._cuttable, others

    def _clean(self, connector: str, text: str) -> str:
        return redact(text, self._secrets.get(connector, ()))

    # --- one connector ---------------------------------------------------------------------------------------------

    async def _begin(self, manifest: Manifest) -> None:
        name = manifest.name
        self._digests[name] = manifest.digest
        self._manifests[name] = manifest
        self._problems.pop(name, None)
        try:
            settings, secrets = self._settings(manifest)
        except RemitError as error:
            self._problems[name] = error.message
            return
        self._secrets[name] = secrets
        if manifest.cuttable:
            self._cuttable.add(name)
        connector = Connector(settings, now=self._now, jitter=self._jitter)
        self._running[name] = connector
        connector.on_tools_changed(lambda: self._list_soon(connector, manifest))
        await connector.start()
        listings = [task for task in self._listings if task.get_name() == name]
        if listings:
            await asyncio.wait(listings, timeout=LISTING_SECONDS)

    async def _end(self, name: str) -> None:
        connector = self._running.pop(name, None)
        self._digests.pop(name, None)
        self._manifests.pop(name, None)
        self._definitions.pop(name, None)
        self._heard.pop(name, None)
        self._problems.pop(name, None)
        self._secrets.pop(name, None)
        self._cuttable.discard(name)
        if connector is not None:
            await connector.close(GRACE)

    def _list_soon(self, connector: Connector, manifest: Manifest) -> None:
        task = asyncio.get_running_loop().create_task(self._list(connector, manifest), name=manifest.name)
        self._listings.add(task)
        task.add_done_callback(self._listings.discard)

    async def _list(self, connector: Connector, manifest: Manifest) -> None:
        name, restarts = manifest.name, connector.status.restarts
        try:
            listed = redact(await connector.list_tools(), self._secrets.get(name, ()))
            definitions = tuple(read_definition(raw) for raw in listed)
        except (NotSent, AnswerLost, UpstreamRefused, RemitError) as error:
            self._problems[name] = self._clean(name, f"its tools could not be listed: {error}")
            log.warning("connector %s: %s", name, self._problems[name])
            return
        if self._running.get(name) is not connector:
            return
        self._problems.pop(name, None)
        changed = definitions != self._definitions.get(name)
        self._definitions[name] = definitions
        self._heard[name] = restarts
        if changed:
            self.on_change()

    def _settings(self, manifest: Manifest) -> tuple[ConnectorSettings, tuple[str, ...]]:
        env = dict(manifest.env)
        headers: dict[str, str] = {}
        secrets: list[str] = []
        credential = manifest.credential
        if credential.kind is CredentialClass.STATIC and credential.secret:
            value = resolve(credential.secret, environment=self._environment, base=self._base)
            secrets.append(value)
            place, _, key = credential.into.partition(":")
            (env if place == "env" else headers)[key] = value
            bare = value.partition(" ")[2]  # the token of "Bearer TOKEN" is as secret by itself
            secrets += [bare] if len(bare) > 7 else []
        if credential.kind is CredentialClass.WARRANT and manifest.transport == "stdio":
            env |= {"REMIT_WARRANT_KEY": str(self._warrant_key_file), "REMIT_CONNECTOR": manifest.name}
        settings = ConnectorSettings(
            name=manifest.name,
            transport=manifest.transport,
            command=manifest.command,
            env=env,
            cwd=Path(manifest.cwd) if manifest.cwd else None,
            url=manifest.url,
            headers=headers,
            secrets=tuple(secrets),
            timeout=manifest.timeout / SECOND,
            stderr_file=self._stderr_file(manifest.name),
        )
        return settings, tuple(secrets)


class _Cleaned:
    """A listener for progress that is told nothing secret."""

    def __init__(self, listener: Callable[[Json], None], secrets: tuple[str, ...]) -> None:
        self._listener = listener
        self._secrets = secrets

    def __call__(self, progress: Json) -> None:
        self._listener(redact(progress, self._secrets))


def _digest(manifest: Manifest | None) -> str:
    return manifest.digest if manifest is not None else ""
