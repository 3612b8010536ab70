"""Plots as inline SVG: text in, text out. Colours are CSS classes of the page they stand in: ``c0`` to ``c7``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

COLOURS = 8
_WIDTH, _ROW, _BAR = 960, 26, 14
_LEFT, _RIGHT, _AXIS = 300, 200, 34
_GATE_RIGHT = 280
_LEAST = 1e-9


class Bar(NamedTuple):
    """One row of a bar plot."""

    label: str
    values: tuple[float, ...]
    """Ascending: where the bar ends, and marks beyond it. In a stacked plot: the parts, one after the other."""
    text: str
    """What stands behind the bar."""
    colour: int = 0


class Gate(NamedTuple):
    """One row of a funnel."""

    label: str
    refused: int
    text: str
    """What stands behind the number."""


class Dot(NamedTuple):
    """One point of a scatter plot."""

    x: float
    y: float
    text: str
    """Shown when the pointer rests on it."""
    colour: int = 0
    hollow: bool = False


def ticks(top: float, wanted: int = 5) -> list[float]:
    """Return round numbers from 0 up to the first that is not below ``top``, about ``wanted`` steps."""
    if not top > _LEAST or not math.isfinite(top):
        return [0.0, 1.0]
    rough = top / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    count = math.ceil(top / step - 1e-9)
    return [round(step * number, 12) for number in range(count + 1)]


def bars(rows: Sequence[Bar], unit: str) -> str:
    """Return a bar per row up to its first value, with a line on to its second and a mark at its last."""
    scale = _Scale(max(max(row.values) for row in rows), _LEFT, _WIDTH - _RIGHT)
    parts = [_frame(len(rows), scale, unit)]
    for number, row in enumerate(rows):
        y = number * _ROW + _ROW / 2
        end, *beyond = (scale.at(value) for value in row.values)
        parts.append(_label(row.label, y))
        parts.append(_rect(_LEFT, end, y, row.colour, row.text))
        if beyond:
            parts.append(f'<path class="mark" d="M{end:.1f} {y:.1f}H{beyond[-1]:.1f}"/>')
            parts += [f'<path class="mark" d="M{x:.1f} {y - 4:.1f}v8"/>' for x in beyond]
        parts.append(_behind(max([end, *beyond]), y, row.text))
    return _svg(len(rows) * _ROW + _AXIS, parts, f"Bars in {unit}")


def stacked(rows: Sequence[Bar], names: Sequence[str], unit: str) -> str:
    """Return a bar per row made of parts, part n in colour n and called ``names[n]``."""
    scale = _Scale(max(sum(row.values) for row in rows), _LEFT, _WIDTH - _RIGHT)
    parts = [_frame(len(rows), scale, unit)]
    for number, row in enumerate(rows):
        y, begun = number * _ROW + _ROW / 2, 0.0
        parts.append(_label(row.label, y))
        for part, value in enumerate(row.values):
            text = f"{names[part]}: {value:.2f} {unit}"
            parts.append(_rect(scale.at(begun), scale.at(begun + value), y, part, text))
            begun += value
        parts.append(_behind(scale.at(begun), y, row.text))
    return _svg(len(rows) * _ROW + _AXIS, parts, f"Stacked bars in {unit}") + legend(names)


def funnel(total: int, names: tuple[str, str], gates: Sequence[Gate], colour: int = 0) -> str:
    """Return a bar of ``total``, one for each gate (what is left after it, and faintly what it refused), and the rest.

    Args:
        total: what there was, 1 or more.
        names: of the first row and of the last.
        gates: in order; they refuse no more than ``total``.
        colour: of the bars.
    """
    per_one, left = (_WIDTH - _GATE_RIGHT - _LEFT) / total, total
    parts = [_rung(names[0], 0, _LEFT + total * per_one, colour, f"{total:,}")]
    for number, gate in enumerate(gates, start=1):
        y, begun, left = (number + 0.5) * _ROW, left, left - gate.refused
        end, refused_end = _LEFT + left * per_one, _LEFT + begun * per_one
        parts.append(_label(gate.label, y))
        parts.append(_rect(_LEFT, end, y, colour, f"{left:,} left"))
        parts.append(_rect(end, refused_end, y, colour, f"{gate.refused:,} refused", faint=True))
        parts.append(_behind(refused_end, y, f"-{gate.refused:,}", gate.text))
    parts.append(_rung(names[1], len(gates) + 1, _LEFT + left * per_one, colour, f"{left:,}"))
    return _svg((len(gates) + 2) * _ROW, parts, f"Of {total:,} {names[0]}, {left:,} {names[1]}")


def scatter(dots: Sequence[Dot], x_name: str, y_name: str, *, line: float | None = None, joined: bool = False) -> str:
    """Return a scatter plot from 0 on both axes.

    Args:
        dots: the points, at least one.
        x_name: of the axis.
        y_name: likewise.
        line: a horizontal line at this y.
        joined: whether a line joins the points of a colour.
    """
    height, left, bottom = 340, 70, 300
    xs = _Scale(max(dot.x for dot in dots), left, _WIDTH - 30)
    ys = _Scale(max(max(dot.y for dot in dots), line or 0.0), bottom, 16)
    parts = [f'<path class="axis" d="M{left} 16V{bottom}H{_WIDTH - 30}"/>']
    for tick in ys.ticks:
        y = ys.at(tick)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{_WIDTH - 30}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts += [
        f'<text x="{xs.at(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>' for tick in xs.ticks
    ]
    middle = (left + _WIDTH - 30) / 2
    parts.append(f'<text class="name" x="{middle:.0f}" y="{height - 4}" text-anchor="middle">{escape(x_name)}</text>')
    parts.append(
        f'<text class="name" transform="translate(16 160) rotate(-90)" text-anchor="middle">{escape(y_name)}</text>'
    )
    if line is not None:
        parts.append(f'<path class="limit" d="M{left} {ys.at(line):.1f}H{_WIDTH - 30}"/>')
    if joined:
        parts += _joined(dots, xs, ys)
    for dot in dots:
        kind = "hollow" if dot.hollow else "dot"
        place = f'cx="{xs.at(dot.x):.1f}" cy="{ys.at(dot.y):.1f}"'
        parts.append(
            f'<circle class="{kind} c{dot.colour % COLOURS}" {place} r="6"><title>{escape(dot.text)}</title></circle>'
        )
    return _svg(height, parts, f"{y_name} against {x_name}")


def legend(names: Sequence[str]) -> str:
    """Return what the colours mean, colour n as ``names[n]``."""
    entries = [f'<li><i class="c{n % COLOURS}"></i>{escape(name)}</li>' for n, name in enumerate(names)]
    return f'<ul class="legend">{"".join(entries)}</ul>'


class _Scale:
    """Maps 0 .. the last tick to px."""

    def __init__(self, top: float, begin: float, end: float) -> None:
        self.ticks = ticks(top)
        self._begin, self._per_unit = begin, (end - begin) / self.ticks[-1]

    def at(self, value: float) -> float:
        return self._begin + value * self._per_unit


def _joined(dots: Sequence[Dot], xs: _Scale, ys: _Scale) -> list[str]:
    lines = []
    for colour in sorted({dot.colour for dot in dots}):
        points = [f"{xs.at(dot.x):.1f},{ys.at(dot.y):.1f}" for dot in dots if dot.colour == colour]
        lines.append(f'<polyline class="join c{colour % COLOURS}" points="{" ".join(points)}"/>')
    return lines


def _frame(rows: int, scale: _Scale, unit: str) -> str:
    bottom = rows * _ROW + 2
    parts = []
    for tick in scale.ticks:
        x = scale.at(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} 0V{bottom}"/>')
        text = f"{tick:g} {unit}" if tick == scale.ticks[-1] else f"{tick:g}"
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{escape(text)}</text>')
    return "".join(parts)


def _label(text: str, y: float) -> str:
    return f'<text class="label" x="{_LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'


def _rung(label: str, number: int, end: float, colour: int, text: str) -> str:
    y = (number + 0.5) * _ROW
    return _label(label, y) + _rect(_LEFT, end, y, colour, text) + _behind(end, y, text)


def _behind(x: float, y: float, text: str, remark: str = "") -> str:
    more = f'<tspan class="remark" dx="10">{escape(remark)}</tspan>' if remark else ""
    return f'<text class="value" x="{x + 8:.1f}" y="{y + 4:.1f}">{escape(text)}{more}</text>'


def _rect(begin: float, end: float, y: float, colour: int, text: str, *, faint: bool = False) -> str:
    width = max(end - begin, 0.0)
    place = f'x="{begin:.1f}" y="{y - _BAR / 2:.1f}" width="{width:.1f}" height="{_BAR}"'
    kind = f"c{colour % COLOURS}" + " faint" * faint
    return f'<rect class="{kind}" {place}><title>{escape(text)}</title></rect>'


def _svg(height: float, parts: Sequence[str], about: str) -> str:
    body = "".join(parts)
    return f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(about, quote=True)}">{body}</svg>'
