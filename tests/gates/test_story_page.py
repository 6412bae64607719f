"""The page is inert whatever is in it, fetches nothing, and says what a reader must know."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from remit.gates.story import tell
from remit.gates.story.dossier import Cosigned, Dossier, Exact, LeftOut, ProofFacts, Reconciled
from remit.gates.story.page import render_page
from remit.gates.story.sentences import length
from remit.model.words import MINUTE, SECOND, Rationale, Signal
from tests.flow.past import START, Past
from tests.gates.test_story import PASTS, facts

ALLOWED = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "p",
        "h1",
        "h2",
        "h3",
        "ul",
        "ol",
        "li",
        "span",
        "dl",
        "dt",
        "dd",
        "div",
        "section",
        "article",
        "strong",
        "time",
        "blockquote",
        "pre",
        "code",
        "details",
        "summary",
        "footer",
        "a",
    ]
)
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style></main><iframe src=//evil.example>",
    "javascript:alert(1)",
    "\x1b[2J\u202e\u2066\U000e0041",
    "{{7*7}} ${7*7} <!-- -->",
    "&lt;script&gt;",
    "]]><svg/onload=alert(1)>",
]


class Reader(HTMLParser):
    """What a browser would make of a page: elements, attributes, text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.text += data


def dossier(kind: str = "approved", said: str = "", **more: object) -> Dossier:
    past = Past()
    action = PASTS[kind][0](past)
    story = tell(facts(past, action))
    if said:
        rationale = Rationale(
            summary=said, signals=(Signal(said, ""), Signal(said, said)), alternatives=(said,), confidence=0.5
        )
        story = replace(story, rationale=rationale, agent=said, case=said, targets=(said,), arguments=said)
    records = tuple(
        Exact(position=each.position, kind=each.kind, at=each.at, says=each.says + said, text=said, sha256=each.sha256)
        for each in story.entries
    )
    fields: dict[str, object] = {
        "home": f"home_1{said}",
        "practice": False,
        "zone": "Europe/Berlin",
        "stories": (story,),
        "records": records,
        "proof": ProofFacts(origin=f"remit/home_1{said}", size=1234567, root="cm9vdA==", until=START),
        "kinds": {"host.isolate": f"cut a host off the network{said}"},
        "people": {"bob": f"Bob Baker{said}"},
        "reconciled": (Reconciled(connector=f"edr{said}"),),
    }
    return Dossier(**(fields | more))  # type: ignore[arg-type]


def assert_inert(page: str) -> Reader:
    reader = Reader(page)
    for tag, attributes in reader.elements:
        assert tag in ALLOWED, tag
        assert not any(name.startswith("on") or name in ("src", "style", "srcset", "action") for name in attributes)
        assert str(attributes.get("href", "#")).startswith("#")
    assert not re.search(r"url\(|@import|expression\(", page)
    return reader


@pytest.mark.parametrize("kind", PASTS)
def test_every_ending_is_told_without_anything_active(kind: str) -> None:
    reader = assert_inert(render_page(dossier(kind)))
    for title in ("Who decided, and under which rule", "What came back", "How to undo it", "Why this can be believed"):
        assert title in reader.text
    assert "Europe/Berlin" in reader.text


@pytest.mark.parametrize("said", HOSTILE)
def test_what_an_agent_or_a_log_line_says_stays_text(said: str) -> None:
    page = render_page(dossier(said=said))
    plain = Reader(render_page(dossier(said="plain")))
    assert [tag for tag, _ in assert_inert(page).elements] == [tag for tag, _ in plain.elements]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]", page)


@settings(max_examples=60)
@given(st.text(min_size=1, max_size=200))
def test_no_text_makes_an_element_or_a_control_character(said: str) -> None:
    page = render_page(dossier(said=f"x{said}"))
    plain = Reader(render_page(dossier(said="plain")))
    assert [tag for tag, _ in assert_inert(page).elements] == [tag for tag, _ in plain.elements]


def test_the_policy_forbids_everything_but_the_style_that_is_there() -> None:
    page = render_page(dossier())
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = next(each["content"] for _, each in Reader(page).elements if each.get("http-equiv"))
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_the_first_sentence_says_who_wanted_what_who_decided_and_what_became_of_it() -> None:
    page = render_page(dossier())
    head = re.search(r"<h1[^>]*>(.*?)</h1>", page, re.DOTALL)
    assert head is not None
    assert head[1] == (
        "On 22 November 2026 at 03:00 (Europe/Berlin), the software agent “triage” asked to cut a host off the network "
        "(WS-7). Bob Baker said yes after 3 minutes 10 seconds. It was done."
    )


def test_without_a_witness_it_says_plainly_what_is_not_excluded() -> None:
    assert "whoever holds the log’s key could have written the whole log anew" in render_page(dossier())


def test_with_a_witness_it_says_who_would_have_to_work_together() -> None:
    cosigned = (Cosigned(name="witness.example", at=START),)
    proof = ProofFacts(origin="remit/home_1", size=9, root="cm9vdA==", cosigned=cosigned)
    page = render_page(dossier(proof=proof))
    assert "countersigned by witness.example" in page
    assert "could have written the whole log anew" not in page


def test_an_unverified_signature_and_a_gap_are_not_whispered() -> None:
    found = dossier()
    vote = replace(found.stories[0].votes[0], verified=False, why_not="it is somebody else's")
    story = replace(found.stories[0], votes=(vote,), gaps=("the run is not known",))
    page = render_page(replace(found, stories=(story,)))
    assert "THE SIGNATURE DOES NOT HOLD" in page
    assert "What is missing, or does not hold" in page


def test_what_was_never_compared_is_said_to_be_so() -> None:
    text = Reader(render_page(dossier())).text
    assert "nobody has ever compared this log with the audit trail that “edr” itself keeps" in text


def test_what_is_left_out_is_named_with_the_reason() -> None:
    left = (LeftOut(id="ev_1.result", role="result", why="erased", position=3, note="by lena; GDPR Art. 17"),)
    text = Reader(render_page(dossier(left_out=left))).text
    assert "(ev_1.result): erased by a person’s signed order (by lena; GDPR Art. 17)" in text


@pytest.mark.parametrize(
    ("microseconds", "says"),
    [(0, "less than a second"), (SECOND, "1 second"), (61 * SECOND, "1 minute 1 second"), (120 * MINUTE, "2 hours")],
)
def test_lengths_of_time_are_words(microseconds: int, says: str) -> None:
    assert length(microseconds) == says
