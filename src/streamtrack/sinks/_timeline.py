"""The timeline of a report as inline SVG: how many were in view, a row per track, cuts across all of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from html import escape

from streamtrack.sinks._draw import clock, track_colour
from streamtrack.sinks._gallery import Brief, Gallery, Span, Story
from streamtrack.types import NS_PER_S

STYLE = """
.timeline .lane { fill: transparent; } .timeline .row:hover .lane { fill: var(--tile); }
.timeline .name { font-size: 12px; fill: var(--ink); } .timeline a:hover .name { text-decoration: underline; }
.timeline .seen { fill: var(--t); } .timeline .lost { stroke: var(--t); stroke-width: 1.5; opacity: .55; }
.timeline .brief { stroke-width: 2.5; } .timeline .course { fill: var(--k0); opacity: .35; }
.timeline .cut { stroke: var(--ink); opacity: .38; stroke-dasharray: 3 3; } .timeline .flag { fill: var(--ink); }
"""

_WIDTH, _LEFT, _RIGHT = 960, 58, 24
_TOP, _COURSE, _FOOT = 22, 44, 8
_BRIEF, _MOST_LANES = 4, 60
_FEW = 24
"""Up to so many tracks, rows are tall."""
_FEW_CUTS = 40
_TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def timeline(gallery: Gallery) -> str:
    """Return the timeline of a run that has ended."""
    stories, briefs = gallery.stories(), gallery.briefs()
    row = 22 if len(stories) <= _FEW else 16
    lanes = _packed(briefs)
    rows_at = _TOP + _COURSE + 10
    briefs_at = rows_at + len(stories) * row + (10 if lanes else 0)
    bottom = briefs_at + len(lanes) * _BRIEF
    axis = _Axis(gallery.first_ns, gallery.end_ns)
    parts = [*axis.ticks(bottom), *_course(gallery, axis)]
    for number, story in enumerate(stories):
        parts += _row(story, axis, rows_at + number * row, row, gallery.last_step_ns)
    for number, lane in enumerate(lanes):
        parts += [_brief(brief, axis, briefs_at + (number + 0.5) * _BRIEF) for brief in lane]
    parts += _cuts(gallery, axis, bottom)
    about = f"Timeline of {len(stories)} tracks"
    size = f"0 0 {_WIDTH} {bottom + _FOOT}"
    return f'<svg class="timeline" viewBox="{size}" role="img" aria-label="{about}">{"".join(parts)}</svg>'


def lines_shown(gallery: Gallery) -> int:
    """Return how many tracks the timeline shows as thin lines."""
    return sum(len(lane) for lane in _packed(gallery.briefs()))


def tick_step_s(length_s: float) -> int:
    """Return how far apart marks stand on an axis of ``length_s``: at most 12 of them, at round times."""
    return next((step for step in _TICKS_S if length_s / step <= 12), int(length_s // 12) + 1)


class _Axis:
    """Maps media time to px."""

    def __init__(self, start_ns: int, end_ns: int) -> None:
        self._start_ns, self._length_ns = start_ns, max(1, end_ns - start_ns)

    def x(self, pts_ns: int) -> float:
        return _LEFT + (_WIDTH - _RIGHT - _LEFT) * (pts_ns - self._start_ns) / self._length_ns

    def ticks(self, bottom: float) -> Iterator[str]:
        step_ns = tick_step_s(self._length_ns / NS_PER_S) * NS_PER_S
        tick = -(-self._start_ns // step_ns) * step_ns
        while tick <= self._start_ns + self._length_ns:
            x = self.x(tick)
            yield f'<path class="grid" d="M{x:.1f} {_TOP - 6}V{bottom}"/>'
            yield f'<text x="{x:.1f}" y="{_TOP - 10}" text-anchor="middle">{clock(tick)}</text>'
            tick += step_ns


def _course(gallery: Gallery, axis: _Axis) -> Iterator[str]:
    means = gallery.course.means()
    most = max(means, default=0.0)
    if not most:
        return
    base, top = _TOP + _COURSE, _TOP + 4
    path = [f"M{axis.x(gallery.first_ns):.1f} {base}"]
    for number, mean in enumerate(means):
        begin = axis.x(gallery.first_ns + number * gallery.course.step_ns)
        is_last = number + 1 == len(means)
        end = axis.x(gallery.end_ns if is_last else gallery.first_ns + (number + 1) * gallery.course.step_ns)
        y = base - (base - top) * mean / most
        path.append(f"L{begin:.1f} {y:.1f}H{end:.1f}")
    yield f'<path class="course" d="{"".join(path)}V{base}Z"><title>tracks in view, at most {most:.3g}</title></path>'
    yield f'<text x="{_LEFT - 8}" y="{top + 8}" text-anchor="end">{most:.3g}</text>'
    yield f'<text x="{_LEFT - 8}" y="{base}" text-anchor="end">in view</text>'


def _row(story: Story, axis: _Axis, y: float, height: int, step_ns: int) -> Iterator[str]:
    middle, half = y + height / 2, height / 2 - 3
    begin, end = axis.x(story.first_ns), axis.x(story.last_ns + step_ns)
    name = f"#{story.track_id}" if story.track_id < 10**6 else f"#…{story.track_id % 10**4:04}"
    yield f'<g class="row" style="--t:{css_colour(story.track_id)}"><title>{escape(told(story))}</title>'
    yield f'<rect class="lane" x="0" y="{y:.1f}" width="{_WIDTH}" height="{height}"/>'
    yield f'<a href="#t{story.track_id}"><text class="name" x="{_LEFT - 8}" y="{middle + 4:.1f}" '
    yield f'text-anchor="end">{name}</text></a><path class="lost" d="M{begin:.1f} {middle:.1f}H{end:.1f}"/>'
    for x0, x1, span in _merged(story.spans, axis, step_ns):
        # However short, it must be seen.
        place = f'x="{x0:.1f}" y="{middle - half:.1f}" width="{max(x1 - x0, 1.5):.1f}" height="{2 * half:.0f}" rx="2"'
        text = f"#{story.track_id}, {between(span.begin_ns, span.end_ns)}, confidence {span.confidence:.2f}"
        yield f'<rect class="seen" {place}><title>{text}</title></rect>'
    yield "</g>"


def _merged(spans: Sequence[Span], axis: _Axis, step_ns: int) -> Iterator[tuple[float, float, Span]]:
    """Yield begin and end in px of what can be told apart."""
    held: tuple[float, float, Span] | None = None
    for span in spans:
        x0, x1 = axis.x(span.begin_ns), axis.x(span.end_ns + step_ns)
        if held is not None and x0 - held[1] < 0.6:
            before = held[2]
            joined = Span(before.begin_ns, span.end_ns, before.frames + span.frames, before.score_sum + span.score_sum)
            held = held[0], x1, joined
            continue
        if held is not None:
            yield held
        held = x0, x1, span
    if held is not None:
        yield held


def _packed(briefs: Sequence[Brief]) -> list[list[Brief]]:
    """Return the tracks in as few lanes as they fit in one after the other; what needs more than 60 is left out."""
    lanes: list[list[Brief]] = []
    free: list[tuple[int, int]] = []  # a heap: when a lane is free, and which
    for brief in briefs:
        if free and free[0][0] < brief.first_ns:
            _, number = heapq.heappop(free)
        elif len(lanes) < _MOST_LANES:
            number = len(lanes)
            lanes.append([])
        else:
            continue
        lanes[number].append(brief)
        heapq.heappush(free, (brief.last_ns, number))
    return lanes


def _brief(brief: Brief, axis: _Axis, y: float) -> str:
    begin, end = axis.x(brief.first_ns), axis.x(brief.last_ns)
    text = f"#{brief.track_id}, {between(brief.first_ns, brief.last_ns)}, {brief.frames:,} frames"
    return (
        f'<path class="brief" stroke="{css_colour(brief.track_id)}" d="M{begin:.1f} {y:.0f}H{max(end, begin + 1):.1f}">'
        f"<title>{text}</title></path>"
    )


def _cuts(gallery: Gallery, axis: _Axis, bottom: float) -> Iterator[str]:
    found: list[tuple[float, int]] = []
    for pts_ns in gallery.cuts.times_ns():
        x = axis.x(pts_ns)
        # What is closer together is one line.
        if not found or x - found[-1][0] >= 1:
            found.append((x, pts_ns))
    # Many lines across all rows would hide what is in them.
    end = bottom if len(found) <= _FEW_CUTS else _TOP + _COURSE
    for x, pts_ns in found:
        yield f'<path class="cut" d="M{x:.1f} {_TOP - 2}V{end}"/>'
        yield f'<path class="flag" d="M{x - 4:.1f} {_TOP - 6}h8l-4 7z">'
        yield f"<title>cut at {clock(pts_ns, 2)}</title></path>"


def told(story: Story) -> str:
    """Return what there is to say of a track in one line of text."""
    return (
        f"#{story.track_id}, {between(story.first_ns, story.last_ns)}, seen in {100 * story.share_seen:.0f} % of it, "
        f"mean confidence {story.confidence:.2f}"
    )


def between(begin_ns: int, end_ns: int) -> str:
    """Return two times as text."""
    return f"{clock(begin_ns, 1)} to {clock(end_ns, 1)}"


def css_colour(track_id: int) -> str:
    """Return the colour of a track, the one it has in the annotated video."""
    red, green, blue = track_colour(track_id)
    return f"#{red:02x}{green:02x}{blue:02x}"
