"""A report as one HTML file that needs nothing else: no network, no script, figures embedded."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from catlipctl.printable import printable

STYLE = """\
:root { color-scheme: light dark;
  --ground: #fbfbfa; --ink: #1f2328; --muted: #656d76; --line: #d0d7de; --card: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171a; --ink: #e6e8ea; --muted: #9aa4ae; --line: #343a41; --card: #161b22; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); line-height: 1.6;
  font: 1.0625rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: clamp(1.5rem, 5vw, 4rem) 1.25rem 4rem; }
h1 { font-size: clamp(1.7rem, 4.5vw, 2.4rem); line-height: 1.15; letter-spacing: -0.02em; margin: 0 0 1.5rem;
  text-wrap: balance; }
h2 { font-size: 1.3rem; line-height: 1.3; letter-spacing: -0.01em; margin: 0 0 0.6rem; }
section { margin-top: 2.75rem; }
p { margin: 0 0 0.9rem; text-wrap: pretty; overflow-wrap: break-word; }
code { font: 0.88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  background: color-mix(in srgb, var(--ink) 8%, transparent); padding: 0.1em 0.35em; border-radius: 4px; }
figure { margin: 1.1rem 0; }
/* Figures follow the colour scheme themselves: the card is of their ground. */
figure img { display: block; width: 100%; height: auto; background: var(--card); padding: 0.4rem;
  border: 1px solid var(--line); border-radius: 10px; }
.table { overflow-x: auto; margin: 1.1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: 0.95rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 0.9rem 0.4rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 600; }
th.number, td.number { text-align: right; white-space: nowrap; }
"""

NUMBER = re.compile(r"[-+±≥<>]?\s*[\d,]*\.?\d+\s*(%|x|×|ms|s|min|MiB|GiB|M|/s)?")


@dataclass(frozen=True)
class Table:
    """Rows below column names; cells are shown as `str` gives them; columns of numbers stand at the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Section:
    """A heading with what belongs below it.

    text: paragraphs, an empty line between them; `code` stands between backquotes. figure: a data URI
    (`reports.embed`).
    """

    title: str
    text: str = ""
    table: Table | None = None
    figure: str | None = field(default=None, repr=False)


def page(title: str, sections: Sequence[Section]) -> str:
    """One self-contained HTML document. All text is escaped; a figure that is no data URI is a ValueError."""
    body = "\n".join(_section(section) for section in sections)
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_escaped(title)}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
<h1>{_escaped(title)}</h1>
{body}
</main>
</body>
</html>
"""


def _section(section: Section) -> str:
    parts = [f"<h2>{_escaped(section.title)}</h2>"] if section.title else []
    parts += [f"<p>{_inline(text)}</p>" for text in re.split(r"\n\s*\n", section.text.strip()) if text]
    if section.figure is not None:
        if not section.figure.startswith("data:image/"):
            raise ValueError("a figure in a page is a data URI: see reports.embed")
        alt = _escaped(section.title or "figure")
        parts.append(f'<figure><img src="{escape(section.figure)}" alt="{alt}"></figure>')
    if section.table is not None:
        parts.append(_table(section.table))
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _table(table: Table) -> str:
    columns = [[str(row[i]) for row in table.rows] for i in range(len(table.columns))]
    numeric = [
        any(cells) and all(not c or c == "–" or NUMBER.fullmatch(c) for c in cells) for cells in columns
    ]
    head = _row("th", table.columns, numeric)
    rows = "\n".join(_row("td", row, numeric) for row in table.rows)
    return f'<div class="table"><table>\n<thead>{head}</thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>'


def _row(tag: str, cells: Sequence[Any], numeric: Sequence[bool]) -> str:
    kinds = [' class="number"' if right else "" for right in numeric]
    inside = (f"<{tag}{k}>{_inline(str(c))}</{tag}>" for k, c in zip(kinds, cells, strict=True))
    return f"<tr>{''.join(inside)}</tr>"


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _escaped(text))


def _escaped(text: str) -> str:
    return escape(printable(text))
