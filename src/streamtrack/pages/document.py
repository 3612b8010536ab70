"""One HTML page that needs nothing else, in light and in dark and on paper, and the parts that all pages share."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from streamtrack.pages import plots

# A browser that obeys it asks nobody for anything, whatever has found its way into the page.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6b7c; --line: #dfe4ea; --paper: #fff; --tile: #f5f7f9;
  --wait: #fdf3d7; --on-wait: #5f4700;
  --k0: #2f6fdb; --k1: #e07b39; --k2: #2a9d74; --k3: #b5489a; --k4: #8a6fd1; --k5: #c9a227;
  --k6: #4aa6c4; --k7: #7d8794; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa7b6; --line: #323b47;
  --paper: #14181d; --tile: #1d232a; --wait: #3a3115; --on-wait: #f2deb0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 40px 32px 64px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 44px 0 4px; break-after: avoid; }
h3 { font-size: 15px; margin: 22px 0 0; break-after: avoid; }
p { margin: 4px 0 12px; max-width: 80ch; } .soft, footer { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 14px; margin: 24px 0 0; }
.tile { background: var(--tile); border-radius: 8px; padding: 16px 18px; }
.tile b { display: block; font-size: 26px; line-height: 1.2; } .tile span { color: var(--soft); font-size: 13px; }
svg { display: block; width: 100%; height: auto; margin: 12px 0 4px; overflow: visible; }
svg text { font-size: 12px; fill: var(--soft); } svg .label, svg .value { fill: var(--ink); font-size: 13px; }
svg .remark { fill: var(--soft); font-size: 12px; }
svg .grid { stroke: var(--line); } svg .axis { stroke: var(--soft); fill: none; }
svg .mark { stroke: var(--ink); stroke-width: 1.5; opacity: .55; fill: none; } svg .faint { opacity: .3; }
svg .limit { stroke: #d33f49; stroke-dasharray: 6 4; stroke-width: 1.5; }
svg .hollow { fill: var(--paper); stroke-width: 2.5; } svg .join { fill: none; stroke-width: 2; opacity: .6; }
COLOURS
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 20px; padding: 0;
  margin: 8px 0 0; font-size: 13px; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; }
.wide { overflow-x: auto; margin-bottom: 26px; }
table { border-collapse: collapse; font-size: 13px; width: 100%; margin-top: 10px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px 6px 0; border-bottom: 1px solid var(--line); text-align: left; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td { white-space: nowrap; } .num { text-align: right; padding-right: 16px; }
td:last-child { white-space: normal; overflow-wrap: anywhere; }
.notes { color: var(--soft); font-size: 13px; padding-left: 18px; }
.wait { background: var(--wait); color: var(--on-wait); padding: 8px 14px; border-radius: 6px; width: fit-content; }
footer { margin-top: 56px; border-top: 1px solid var(--line); padding-top: 14px; font-size: 13px; }
footer p { max-width: none; } footer code { overflow-wrap: anywhere; }
@media print { body { padding: 0; max-width: none; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  svg, tr, .tile { break-inside: avoid; } }
"""


def document(title: str, body: str, style: str = "") -> str:
    """Return the page.

    Args:
        title: of its window, as text.
        body: as HTML.
        style: further rules, after those of all pages.
    """
    colours = "".join(
        f".c{n} {{ fill: var(--k{n}); stroke: none; background: var(--k{n}); }} "
        f"svg .hollow.c{n}, svg .join.c{n} {{ stroke: var(--k{n}); }}\n"
        for n in range(plots.COLOURS)
    )
    # The plain rule of a colour fills; outlines come after it.
    rules = _STYLE.replace("COLOURS\n", colours) + style
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n"
        f"<style>{rules}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def tiles(figures: Sequence[tuple[str, str]]) -> str:
    """Return big figures, each with what it is; nothing for none."""
    each = [f'<div class="tile"><b>{escape(value)}</b><span>{escape(text)}</span></div>' for value, text in figures]
    return f'<div class="tiles">{"".join(each)}</div>' if each else ""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Return a table of text; the columns ``numbers`` stand to the right. Without rows it has no head either."""
    kinds = [' class="num"' if n in numbers else "" for n in range(len(columns))]

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))

    head = f"<thead><tr>{line(columns, 'th')}</tr></thead>" if rows and any(columns) else ""
    body = "".join(f"<tr>{line(cells, 'td')}</tr>" for cells in rows)
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'
