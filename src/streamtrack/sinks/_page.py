"""A report as one HTML page: what was found, when, what it looked like, and how the run went."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from urllib.parse import urlsplit

from streamtrack.errors import redact
from streamtrack.pages.document import document, tiles
from streamtrack.sinks import _account, _timeline
from streamtrack.sinks._account import Told
from streamtrack.sinks._draw import clock
from streamtrack.sinks._gallery import KEPT_THUMBNAILS, THUMBNAIL, Gallery, Story, Thumbnail
from streamtrack.types import RunInfo

PICTURE_BYTES = 2_500_000
"""All pictures of a page together, at most, as JPEG; base64 adds a third."""

_STYLE = (
    _timeline.STYLE
    + """
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 16px; margin-top: 14px; }
.card.many { grid-column: span 2; }
.card { border: 1px solid var(--line); border-left: 6px solid var(--t); border-radius: 8px; padding: 12px 14px;
  break-inside: avoid; scroll-margin: 20px; } .card:target { background: var(--tile); }
.card header { display: flex; gap: 10px; align-items: baseline; font-size: 13px; color: var(--soft); }
.card header b { background: var(--t); color: #10141a; border-radius: 5px; padding: 1px 8px; font-size: 14px; }
.card header span:last-child { margin-left: auto; font-variant-numeric: tabular-nums; }
.card div { display: flex; flex-wrap: wrap; gap: 6px; margin: 10px 0 8px; }
.card img { width: 66px; height: 66px; border-radius: 5px; display: block; object-fit: cover; }
.card p { margin: 0; font-size: 13px; color: var(--soft); } .card p b { color: var(--ink); font-weight: 600; }
details { font-size: 13px; color: var(--soft); } p.wait + p.wait { margin-top: -4px; }
@media print { .cards { grid-template-columns: repeat(4, 1fr); } .card img { width: 44px; height: 44px; } }
@media (max-width: 560px) { .card.many { grid-column: auto; } body { padding: 24px 16px 40px; } }
"""
)


def page(info: RunInfo, gallery: Gallery, told: Told | None, written: str) -> str:
    """Return the page of a run that has ended.

    Args:
        info: of the run.
        gallery: what it saw, ended.
        told: what ``track_metrics.json`` holds; None where nobody knows: the page then tells of the tracks alone.
        written: when, for people.
    """
    told = None if told is None else _redacted(told)
    title = source_name(redact(info.source.uri))
    body = [*_head(info, gallery, told, title), *_tracks(gallery, info.class_names)]
    if told is not None:
        body += [*_account.where_it_went(told), *_account.speed(told), *_account.chosen(told)]
    made_by = f"streamtrack {told['streamtrack_version']}" if told else "streamtrack"
    body.append(f"<footer><p>{escape(made_by)}, {escape(written)}</p></footer>")
    return document(f"{title}: tracks", "\n".join(body), _STYLE)


def source_name(uri: str) -> str:
    """Return a file's name, or a URL's host and path."""
    parts = urlsplit(uri)
    if parts.netloc:
        return parts.netloc.rpartition("@")[2] + parts.path
    return uri.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or uri


def _redacted(value: Told) -> Told:
    def clean(part: object) -> object:
        if isinstance(part, str):
            return redact(part)
        if isinstance(part, dict):
            return {key: clean(each) for key, each in part.items()}
        return [clean(each) for each in part] if isinstance(part, list | tuple) else part

    return {key: clean(part) for key, part in value.items()}


def _head(info: RunInfo, gallery: Gallery, told: Told | None, title: str) -> Iterator[str]:
    source = info.source
    rate = f"{source.rate:.5g} fps" if source.rate else ""
    facts = (f"{source.width} x {source.height}", rate, source.codec, source.sampling, info.model)
    yield f"<h1>{escape(title)}</h1>"
    yield f'<p class="soft">{escape(" · ".join(fact for fact in facts if fact))}</p>'
    if told is not None:
        yield from (f'<p class="wait">{escape(text)}</p>' for text in _account.warnings(told))
    yield tiles(list(_figures(gallery, told)))


def _figures(gallery: Gallery, told: Told | None) -> Iterator[tuple[str, str]]:
    length_ns = gallery.end_ns - gallery.first_ns
    yield f"{gallery.tracks:,}", "track" if gallery.tracks == 1 else "tracks"
    yield f"{gallery.detections:,}", f"detections in {gallery.frames:,} frames looked at"
    yield clock(length_ns, 1 if length_ns < 600e9 else 0), "of video"
    yield f"{gallery.cuts.count:,}", "shot cut" if gallery.cuts.count == 1 else "shot cuts"
    if told is None or not told["process"]["wall_s"]:
        return
    if told["latency"]:
        yield f"{told['latency']['p95_ms']:.0f} ms", "from camera to tracks, for 95 % of the frames"
    else:
        times = length_ns / 1e9 / told["process"]["wall_s"]
        yield f"{times:#.2g} x" if times < 10 else f"{times:.0f} x", "as fast as the video plays"


def _tracks(gallery: Gallery, class_names: Sequence[str]) -> Iterator[str]:
    stories = gallery.stories()
    yield "<h2>Timeline</h2>"
    if not stories:
        yield "<p>No tracks were found.</p>"
        return
    yield '<p class="soft">A bar where a track is seen, a line where it is lost; dashed lines are cuts. '
    yield "Rest the pointer on a bar for its times and confidence.</p>"
    yield _timeline.timeline(gallery)
    hidden = gallery.tracks - len(stories)
    if hidden:
        rows = f"In rows, the {len(stories):,} tracks with the most frames"
        yield f'<p class="soft">{rows}; {_as_lines(gallery, hidden)}.</p>'
    yield "<h2>Tracks</h2>"
    yield '<p class="soft">The best pictures of each: sharp, large, frontal and confident, spread over its life.</p>'
    limit = _pictures_each(stories)
    yield (
        '<div class="cards">'
        + "".join(_card(story, class_names, limit, gallery.last_step_ns) for story in stories)
        + "</div>"
    )


def _as_lines(gallery: Gallery, hidden: int) -> str:
    shown = _timeline.lines_shown(gallery)
    if shown == hidden:
        return f"below them as thin lines, the other {hidden:,}"
    return f"below them as thin lines, {shown:,} of the other {hidden:,}"


def _pictures_each(stories: Sequence[Story]) -> int:
    """Return how many pictures each track may show, so that all are no larger than ``PICTURE_BYTES``."""
    for limit in range(KEPT_THUMBNAILS, 0, -1):
        if sum(len(each.jpeg) for story in stories for each in _best(story, limit)) <= PICTURE_BYTES:
            return limit
    return 0


def _best(story: Story, limit: int) -> list[Thumbnail]:
    """Return the ``limit`` best, in the order of time."""
    best = sorted(story.thumbnails, key=lambda each: each.quality, reverse=True)[:limit]
    return sorted(best, key=lambda each: each.pts_ns)


def _card(story: Story, class_names: Sequence[str], limit: int, step_ns: int) -> str:
    several = len(class_names) > 1 and story.class_id < len(class_names)
    kind = f"<span>{escape(class_names[story.class_id])}</span>" if several else ""
    best = _best(story, limit)
    pictures = "".join(_image(story.track_id, each) for each in best)
    wide = " many" * (len(best) > 3)
    times = _timeline.between(story.first_ns, story.last_ns)
    lasted = clock(story.last_ns - story.first_ns + step_ns, 1)
    quality = max((each.quality for each in story.thumbnails), default=0.0)
    return (
        f'<article class="card{wide}" id="t{story.track_id}" style="--t:{_timeline.css_colour(story.track_id)}">'
        f"<header><b>#{story.track_id}</b>{kind}<span>{times}</span></header>"
        f"<div>{pictures}</div><p><b>{lasted}</b> long, seen in <b>{100 * story.share_seen:.0f} %</b> of it "
        f"({story.frames:,} frame{'s' * (story.frames != 1)}), confidence <b>{story.confidence:.2f}</b>, "
        f"best quality <b>{quality:.2f}</b></p></article>\n"
    )


def _image(track_id: int, thumbnail: Thumbnail) -> str:
    text = f"#{track_id} at {clock(thumbnail.pts_ns, 2)}, quality {thumbnail.quality:.2f}"
    data = base64.b64encode(thumbnail.jpeg).decode("ascii")
    size = f'width="{THUMBNAIL}" height="{THUMBNAIL}"'
    return f'<img src="data:image/jpeg;base64,{data}" {size} alt="{text}" title="{text}" decoding="async">'
