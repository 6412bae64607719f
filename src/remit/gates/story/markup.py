"""HTML elements that cannot be broken out of: what the story's page is put together from.

What lives here: elements, and the style. What never may: a text that is not made safe on its way in. INVARIANT: a
`Markup` holds only what `element` made; every other text passes `display.safe_text` and is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable
from typing import Final

from remit.model.display import safe_text

_VOID: Final = frozenset({"meta", "br", "hr"})
_LONGEST: Final = 200_000


class Markup(str):
    """HTML that `element` made; nothing else may make one."""

    __slots__ = ()


def element(kind: str, /, *children: str | Markup | None, **attributes: str) -> Markup:
    """One element. Texts are made safe and escaped, `None` is left out. Of attributes, `class_` is `class`, `_` `-`."""
    inside = "".join(inner(each) for each in children if each is not None)
    given = "".join(f' {_attribute(key)}="{_escaped(value)}"' for key, value in attributes.items() if value)
    return Markup(f"<{kind}{given}>" if kind in _VOID else f"<{kind}{given}>{inside}</{kind}>")


def together(*parts: str | Markup | None) -> Markup:
    """Parts side by side, without an element around them."""
    return Markup("".join(inner(each) for each in parts if each is not None))


def each(kind: str, items: Iterable[str | Markup], /, **attributes: str) -> Markup:
    """An element for every item, side by side."""
    return together(*(element(kind, item, **attributes) for item in items))


def inner(child: str | Markup) -> Markup:
    """What stands inside an element: markup as it is, text made safe and escaped."""
    return child if isinstance(child, Markup) else Markup(_escaped(child))


def document(title: str, *body: Markup) -> str:
    """A whole page without scripts or anything from elsewhere: its policy forbids all but its own style."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        Markup(f"<style>{STYLE}</style>"),
    )
    return "<!doctype html>\n" + element("html", head, element("body", *body), lang="en") + "\n"


def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _escaped(text: str) -> str:
    return html.escape(safe_text(str(text)[:_LONGEST]), quote=True)


STYLE: Final = """
:root{--ink:#1c2530;--soft:#56616f;--paper:#fff;--page:#f3f4f6;--line:#d9dde3;--good:#17663a;--good-bg:#e5f4ea;
--bad:#a02018;--bad-bg:#fdeae8;--warn:#7d4e00;--warn-bg:#fdf1d8;--accent:#1f4f8f;--quote:#f6f7f9}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#a3adba;--paper:#171c23;--page:#0e1217;--line:#333c48;
--good:#7fd6a1;--good-bg:#12301f;--bad:#ff9d94;--bad-bg:#3b1512;--warn:#f0c36b;--warn-bg:#33260a;--accent:#8fb8f2;
--quote:#1f262f}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:1rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
main{max-width:50rem;margin:2rem auto;background:var(--paper);border:1px solid var(--line);border-radius:.75rem;
padding:2.5rem 3rem}
.kind{margin:0 0 .9rem;color:var(--soft);font-size:.8rem;letter-spacing:.06em;text-transform:uppercase}
h1,.lead{font-family:Georgia,"Times New Roman",serif;font-weight:600;line-height:1.32;margin:0 0 1.2rem;
font-size:1.65rem;text-wrap:pretty}
article{border-top:3px double var(--line);margin-top:3rem;padding-top:2rem}
article .lead{font-size:1.35rem}
h2{font-size:1.1rem;margin:2.4rem 0 .6rem;padding-top:1.1rem;border-top:1px solid var(--line);line-height:1.3}
h3{font-size:.95rem;margin:1.2rem 0 .3rem}
p{margin:.5rem 0}
.marks{display:flex;flex-wrap:wrap;gap:.5rem;margin:0 0 1.6rem;padding:0;list-style:none}
.mark{display:inline-block;border-radius:1rem;padding:.1rem .75rem;font-size:.85rem;font-weight:600;
border:1px solid var(--line);color:var(--soft)}
.good{color:var(--good);background:var(--good-bg);border-color:transparent}
.bad{color:var(--bad);background:var(--bad-bg);border-color:transparent}
.warn{color:var(--warn);background:var(--warn-bg);border-color:transparent}
dl{margin:0;display:grid;grid-template-columns:9.5rem 1fr;gap:.35rem 1rem}
dt{color:var(--soft)}
dd{margin:0}
.small,.small dd{font-size:.88rem}
.soft{color:var(--soft)}
.time{list-style:none;margin:.8rem 0 0;padding:0}
.time li{position:relative;padding:0 0 1rem 1.6rem;border-left:2px solid var(--line);margin-left:.4rem}
.time li:last-child{border-left-color:transparent;padding-bottom:0}
.time li::before{content:"";position:absolute;left:-.46rem;top:.42rem;width:.8rem;height:.8rem;border-radius:50%;
background:var(--paper);border:3px solid var(--accent)}
.time time{display:block;color:var(--soft);font-size:.85rem;font-variant-numeric:tabular-nums}
blockquote{margin:.6rem 0;padding:.6rem 1rem;background:var(--quote);border-left:4px solid var(--line);
border-radius:0 .4rem .4rem 0}
blockquote p{margin:0;white-space:pre-wrap}
.says{display:block;font-size:.8rem;color:var(--soft);margin-bottom:.2rem}
ul.plain{margin:.4rem 0;padding-left:1.2rem}
ul.plain li{margin:.25rem 0}
.box{border:1px solid var(--line);border-left:5px solid var(--accent);border-radius:.4rem;padding:.7rem 1rem;
margin:.8rem 0}
.box.alarm{border-left-color:var(--bad)}
.box.care{border-left-color:var(--warn)}
details{border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0}
summary{cursor:pointer;padding:.5rem .9rem;font-size:.92rem}
summary:focus-visible,a:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
details>div{padding:0 .9rem .8rem}
pre,code,kbd{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;font-size:.82rem}
pre{white-space:pre-wrap;margin:.4rem 0;background:var(--quote);padding:.6rem .8rem;border-radius:.4rem}
code{background:var(--quote);padding:.05rem .3rem;border-radius:.25rem}
a{color:var(--accent)}
footer{margin-top:2.4rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--soft);font-size:.85rem}
@media (max-width:40rem){main{margin:0;border:0;border-radius:0;padding:1.4rem 1.1rem}h1{font-size:1.3rem}
article .lead{font-size:1.15rem}dl{grid-template-columns:1fr;gap:0}dd{margin:0 0 .6rem}}
@media print{:root{--ink:#000;--soft:#444;--paper:#fff;--page:#fff;--line:#bbb;--good:#000;--good-bg:#fff;--bad:#000;
--bad-bg:#fff;--warn:#000;--warn-bg:#fff;--accent:#000;--quote:#fff}
@page{size:auto;margin:16mm 16mm 18mm}
html{font-size:10pt}
body{font-size:10pt;line-height:1.45}main{border:0;margin:0;padding:0;max-width:none}
h1{font-size:15pt}h2{break-after:avoid;margin-top:14pt;font-size:12pt}.mark{border:1px solid #555}
.time li,.box,blockquote,dl>*{break-inside:avoid}blockquote{border-left:3px solid #888}
.screen{display:none}article+article{break-before:page;border-top:0;padding-top:0;margin-top:0}}
"""
