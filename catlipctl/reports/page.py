"""A report as one HTML file that needs nothing else: no network, no script, figures embedded."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from catlipctl.reports.save import embed

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

from catlipctl.printable import printable

STYLE = """\
:root { color-scheme: light dark;
  --ground: #fbfbfa; --ink: #1f2328; --muted: #656d76; --line: #d0d7de; --card: #fff; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171a; --ink: #e6e8ea; --muted: #9aa4ae; --line: #343a41; --card: #161b22;
    --accent: #4ca3e0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 1.0625rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 58rem; margin: 0 auto; padding: clamp(1.5rem, 5vw, 4rem) 1.25rem 4rem; }
h1 { font-size: clamp(1.7rem, 4.5vw, 2.4rem); line-height: 1.15; letter-spacing: -0.02em; margin: 0 0 1rem;
  text-wrap: balance; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; line-height: 1.3; letter-spacing: -0.01em; margin: 0 0 0.6rem;
  overflow-wrap: anywhere; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.1rem 1.1rem; margin: 0; padding: 0; list-style: none; }
section { margin-top: 2.75rem; scroll-margin-top: 1rem; }
p { max-width: 46rem; margin: 0 0 0.9rem; text-wrap: pretty; overflow-wrap: anywhere; }
a { color: var(--accent); text-underline-offset: 0.15em; }
code, pre { font: 0.88em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
code { background: color-mix(in srgb, var(--ink) 8%, transparent); padding: 0.1em 0.35em; border-radius: 4px;
  overflow-wrap: anywhere; }
pre { margin: 0.6rem 0 0; padding: 0.8rem; overflow-x: auto; border: 1px solid var(--line);
  border-radius: 8px; background: var(--card); }
summary { cursor: pointer; color: var(--muted); }
figure, details { margin: 1.1rem 0; }
/* Figures follow the colour scheme themselves: the card is of their ground. */
figure img { display: block; width: 100%; height: auto; background: var(--card); padding: 0.4rem;
  border: 1px solid var(--line); border-radius: 10px; }
figcaption { color: var(--muted); font-size: 0.9rem; line-height: 1.45; text-align: left;
  padding-bottom: 0.45rem; overflow-wrap: anywhere; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.95rem; line-height: 1.45;
  font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 0.9rem 0.4rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 600; }
thead th { vertical-align: bottom; }
.number { text-align: right; white-space: nowrap; }
td[style] { background: color-mix(in srgb, var(--accent) calc(var(--share) * 0.6), transparent);
  padding-right: 0.45rem; }
td[style] + td { padding-left: 0.6rem; }
td:has(code) { min-width: 15rem; }
.matrix { width: auto; }
.matrix th, .matrix td { padding: 0.25rem 0.4rem; border: 1px solid var(--ground); text-align: right; }
.matrix thead th span { writing-mode: vertical-rl; transform: rotate(180deg); }
.matrix tbody th { position: sticky; left: 0; background: var(--ground); white-space: nowrap; }
@media (max-width: 640px) { th, td { padding-right: 0.6rem; } table { font-size: 0.88rem; }
  td.number { white-space: normal; } }
"""

NUMBER = re.compile(r"[-+±≥<>]?\s*[\d,]*\.?\d+\s*(%|x|×|ms|s|min|MiB|GiB|M|/s)?(\s\([\d.]+ to [\d.]+\))?")


@dataclass(frozen=True)
class Link:
    """A way to a file beside the page, or to a folder."""

    text: str
    path: Path


@dataclass(frozen=True)
class Cell:
    """A table's cell with a ground of the colour's strength `share`, 0 to 1."""

    text: str
    share: float

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Table:
    """Rows below column names; columns of numbers stand at the right.

    Cells are a `Cell`, a `Link`, or shown as `str` gives them. matrix: names of columns stand upright, and
    the first column stays where the others are scrolled. Without names of columns, the first names the rows.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    matrix: bool = False


@dataclass(frozen=True)
class Figure:
    """A chart, drawn for a wide screen and for a phone; its titles become the caption."""

    draw: "Callable[[], Drawing]"


@dataclass(frozen=True)
class Links:
    """Ways to files, in one line: to those that are there."""

    links: Sequence[Link]


@dataclass(frozen=True)
class Folded:
    """A text as it stands in a file, shown when it is asked for."""

    title: str
    text: str


Part = str | Table | Figure | Links | Folded
"""What stands below a heading. A `str` is paragraphs, an empty line between them; `code` in backquotes."""


@dataclass(frozen=True)
class Section:
    """A heading with what belongs below it."""

    title: str
    parts: Sequence[Part]


def page(title: str, sections: Sequence[Section], folder: Path) -> str:
    """One self-contained HTML document, to lie in `folder`: links are relative to it. All text is escaped.

    Raises MachineError for figures without matplotlib.
    """
    document = f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{_contents(sections)}
{"".join(_section(number, section, folder) for number, section in enumerate(sections, 1))}</main>
</body>
</html>
"""
    return printable(document)


def _contents(sections: Sequence[Section]) -> str:
    links = (f'<li><a href="#s{n}">{escape(section.title)}</a></li>' for n, section in enumerate(sections, 1))
    return f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>'


def _section(number: int, section: Section, folder: Path) -> str:
    parts = "\n".join(_part(part, folder) for part in section.parts)
    return f'<section id="s{number}">\n<h2>{escape(section.title)}</h2>\n{parts}\n</section>\n'


def _part(part: Part, folder: Path) -> str:
    match part:
        case str():
            return "\n".join(f"<p>{_inline(text)}</p>" for text in re.split(r"\n\s*\n", part.strip()) if text)
        case Table():
            return _table(part, folder)
        case Figure():
            return _figure(part)
        case Links():
            return f"<p>{' · '.join(_link(link, folder) for link in part.links if link.path.exists())}</p>"
        case Folded():
            summary, text = escape(part.title), escape(part.text)
            return f"<details><summary>{summary}</summary><pre>{text}</pre></details>"


def _figure(figure: Figure) -> str:
    drawn = embed(figure.draw)
    caption = ". ".join(filter(None, (drawn.title, drawn.subtitle)))
    return (
        f'<figure><figcaption>{_inline(caption)}</figcaption><picture><source media="(max-width: 640px)" '
        f'srcset="{drawn.narrow}"><img src="{drawn.wide}" alt="{escape(caption)}"></picture></figure>'
    )


def _table(table: Table, folder: Path) -> str:
    kind = ' class="matrix"' if table.matrix else ""
    columns = [[str(row[i]) for row in table.rows] for i in range(len(table.columns))]
    numeric = [any(cells) and all(map(_is_number, cells)) for cells in columns]
    sides = [' class="number"' if right else "" for right in numeric]
    upright = "<span>{}</span>" if table.matrix else "{}"
    head = "".join(
        f'<th scope="col"{side}>{upright.format(escape(name))}</th>'
        for side, name in zip(sides, table.columns, strict=True)
    )
    rows = "\n".join(f"<tr>{_cells(row, sides, table, folder)}</tr>" for row in table.rows)
    top = f"<thead><tr>{head}</tr></thead>\n" if any(table.columns) else ""
    # A caption inside the table would be scrolled away with it.
    caption = f"<figcaption>{_inline(table.caption)}</figcaption>" if table.caption else ""
    return (
        f'<figure>{caption}<div class="table" tabindex="0"><table{kind}>\n{top}<tbody>\n{rows}\n</tbody>\n'
        "</table></div></figure>"
    )


def _cells(row: Sequence[Any], sides: Sequence[str], table: Table, folder: Path) -> str:
    shown = []
    for number, (cell, side) in enumerate(zip(row, sides, strict=True)):
        named = number == 0 and (table.matrix or not any(table.columns))
        tag = 'th scope="row"' if named else "td"
        share = f' style="--share: {cell.share:.1%}"' if isinstance(cell, Cell) and cell.share else ""
        text = _link(cell, folder) if isinstance(cell, Link) else _inline(str(cell))
        shown.append(f"<{tag}{side}{share}>{text}</{tag.partition(' ')[0]}>")
    return "".join(shown)


def _is_number(text: str) -> bool:
    return text in ("", "–") or NUMBER.fullmatch(text) is not None


def _link(link: Link, folder: Path) -> str:
    address = quote(Path(os.path.relpath(link.path, folder)).as_posix())
    # A name such as `javascript:x` must not be read as a scheme.
    return f'<a href="./{escape(address)}">{escape(link.text)}</a>'


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
