"""The event search: alerts from a handful of detections, and every recorded event, searchable.

`python -m remit_lab.siem --state DIR --telemetry FILE` serves it over stdio, `--http HOST:PORT` over
HTTP. `--inject` adds one event whose text an attacker chose, on the device of the first alert.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import sys
from datetime import datetime, timedelta
from pathlib import Path

from remit_lab import estate, telemetry
from remit_lab.detections import Alert
from remit_lab.estate import Estate
from remit_lab.files import Json
from remit_lab.serving import CallRefused, Kind, Tool, open_connector, parser, serve
from remit_lab.telemetry import Event, account_name, host_name

TEXT = {"type": "string", "minLength": 1, "maxLength": 500}
SHOWN_MESSAGE = 600
"""Characters of an event's prose that a result carries."""
DEFAULT_LIMIT, MOST = 50, 500


class Search:
    """Alerts and events, held in memory; reads only."""

    def __init__(self, events: list[Event], alerts: tuple[Alert, ...]) -> None:
        self._events = events
        self._alerts = alerts
        self._position = {event.id: index for index, event in enumerate(events)}

    def list_alerts(self, state: Json, arguments: Json) -> Json:
        """Return every alert, worst first."""
        return {"alerts": [shown_alert(alert) for alert in self._alerts]}

    def get_alert(self, state: Json, arguments: Json) -> Json:
        """Return one alert; `device` and `account` come from the sensor's own channel."""
        wanted = arguments["alert_id"].removeprefix("siem:")
        for alert in self._alerts:
            if alert.alert_id == wanted:
                return shown_alert(alert)
        raise CallRefused(f"alert `{wanted}` is not known")

    def search_events(self, state: Json, arguments: Json) -> Json:
        """Return the events that match everything asked for, oldest first, and how many match in all."""
        matching = [event for event in self._events if _matches(event, arguments)]
        after = arguments.get("after")
        rest = matching if after is None else [event for event in matching if self._is_after(event, after)]
        page = rest[: arguments.get("limit", DEFAULT_LIMIT)]
        answer: Json = {"events": [shown_event(event) for event in page], "total": len(matching)}
        if len(page) < len(rest):
            answer["next"] = page[-1].id
        return answer

    def _is_after(self, event: Event, after: str) -> bool:
        if after.startswith("evt-"):
            if after not in self._position:
                raise CallRefused(f"event `{after}` is not known")
            return self._position[event.id] > self._position[after]
        return event.time > after


def _matches(event: Event, asked: Json) -> bool:
    if "host" in asked and event.host != host_name(asked["host"].removeprefix("siem:")):
        return False
    if "account" in asked:
        wanted = account_name(asked["account"])
        if not wanted or (wanted != event.account and wanted not in event.accounts):
            return False
    wanted_id = asked.get("event_id")
    if wanted_id is not None and str(wanted_id) not in (event.id, str(event.event_id)):
        return False
    return "text" not in asked or asked["text"].casefold() in event.text().casefold()


def shown_alert(alert: Alert) -> Json:
    """Return an alert as its tools answer it."""
    return {**dataclasses.asdict(alert), "event_ids": list(alert.event_ids)}


def shown_event(event: Event) -> Json:
    """Return an event as `search_events` answers it; long prose is cut and says so."""
    message = event.message
    if len(message) > SHOWN_MESSAGE:
        message = f"{message[:SHOWN_MESSAGE]} … [{len(message) - SHOWN_MESSAGE} more characters]"
    return {
        "id": event.id,
        "time": event.time,
        "host": event.host,
        "event_id": event.event_id,
        "account": event.account,
        "message": message,
        "fields": {name: value for name, value in event.fields.items() if value not in ("", "-")},
    }


def injected(text: str, events: list[Event], alerts: tuple[Alert, ...]) -> Event:
    """Return the event that an attacker writes: an application log line on the first alert's device.

    It is dated one second after that alert's first event, by the account that the alert names.
    """
    device = alerts[0].device if alerts else next((event.host for event in events if event.host), "")
    account = alerts[0].account if alerts else ""
    when = alerts[0].first_seen if alerts else (events[-1].time if events else "")
    record: Json = {
        "Hostname": next((event.get(*telemetry.HOST_FIELDS) for event in events if event.host == device), device),
        "EventID": 1000,
        "Channel": "Application",
        "SourceName": "EventCreate",
        "SubjectUserName": account,
        "Data": text,
        "Message": text,
        "TimeCreated": _later(when),
    }
    return telemetry.event(f"evt-{_digest(text, device)}", record)


def _digest(text: str, device: str) -> str:
    return hashlib.sha256(f"{device}\n{text}".encode()).hexdigest()[:10]


def _later(when: str) -> str:
    try:
        moment = datetime.fromisoformat(when) + timedelta(seconds=1)
    except ValueError:
        return when
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def kind(search: Search) -> Kind:
    """Return the connector kind that serves one search."""
    tools = (
        Tool("list_alerts", "List every alert, worst first.", {}, search.list_alerts, returns=("alerts",)),
        Tool(
            "get_alert",
            "Show one alert: device, account, technique, and the events that it rests on.",
            {"alert_id": {**TEXT, "description": "such as alr_…"}},
            search.get_alert,
            ("alert_id",),
            returns=tuple(field.name for field in dataclasses.fields(Alert)),
        ),
        Tool(
            "search_events",
            "Search recorded events, oldest first. All conditions must hold; `next` continues as `after`.",
            {
                "host": {**TEXT, "description": "the host whose sensor wrote the event"},
                "account": {**TEXT, "description": "an account that the event names"},
                "event_id": {
                    "anyOf": [{"type": "integer"}, TEXT],
                    "description": "a Windows or Sysmon event number, or one event's own id (evt-…)",
                },
                "text": {**TEXT, "description": "words that the event contains, letter case aside"},
                "after": {**TEXT, "description": "an event's own id, or a time in ISO 8601"},
                "limit": {"type": "integer", "minimum": 1, "maximum": MOST},
            },
            search.search_events,
            returns=("events", "total"),
        ),
    )
    return Kind("siem", "Event search: alerts and recorded events.", _initial, tools)


def _initial(known: Estate) -> Json:
    return {"alerts": [shown_alert(alert) for alert in known.alerts]}


def search(paths: list[Path], inject: str | None = None) -> tuple[Search, Estate]:
    """Return a search over event files (none: the packaged incident), and the estate that they show.

    What `inject` adds is searchable and changes neither alerts nor estate.
    """
    events = telemetry.read(paths) if paths else telemetry.incident()
    known = estate.derive(events)
    if inject:
        events = sorted([*events, injected(inject, events, known.alerts)], key=lambda event: event.time)
    return Search(events, known.alerts), known


def main(arguments: list[str] | None = None) -> int:
    """Serve the event search; return the exit status."""
    options: argparse.Namespace = parser("siem").parse_args(arguments)
    found, known = search(options.telemetry, options.inject)
    connector = open_connector(kind(found), options.state, lambda: known, name=options.name, key=options.warrant_key)
    return serve(connector, options.http)


if __name__ == "__main__":
    sys.exit(main())
