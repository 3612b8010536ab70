"""``coco.json``: detections and tracks in the format of COCO, with TAO's ``track_id``, for pycocotools and its like.

See https://cocodataset.org/#format-data and https://github.com/TAO-Dataset/tao/blob/master/docs/format.md (there a
frame is an image of a video, and annotations of one object share a track).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import msgspec

from streamtrack.records import detection_records
from streamtrack.sinks._files import AppendFile, make_folder, replacing, resolve_inside, run_folder
from streamtrack.types import Result, RunInfo

_VIDEO: Final = 1
_DECIMALS: Final = 4
"""Of what is computed: float32 corners hold no more of a picture of usual size."""
_VISIBLE: Final = 2
"""COCO's flag of a keypoint that is labelled and can be seen."""


class CocoSink:
    """Writes an image per processed frame, an annotation per detection, and a track per track.

    While the run goes on they are in ``NAME.images.part`` and the like, a line of JSON each and every line complete; at
    its end they become one file. Of a run that is killed these files remain. Image ids are frame indexes plus 1,
    category ids class ids plus 1, annotation ids count from 1; boxes are ``x y width height``.

    Args:
        layout: ``dataset`` for all of it, which ``COCO(path)`` opens; ``results`` for the bare list of detections that
            ``COCO.loadRes(path)`` takes.
        path: file inside the run's folder.
    """

    when_full: ClassVar = "wait"
    """Every frame of a run counts in its scores."""

    def __init__(self, *, layout: Literal["dataset", "results"] = "dataset", path: str = "coco.json") -> None:
        self._layout = layout
        self._name = path
        self._parts: dict[str, AppendFile] = {}
        self._encoder = msgspec.json.Encoder()
        self._count = 0
        self._known: set[int] = set()

    def open(self, info: RunInfo) -> None:
        """Create the files that grow.

        Raises:
            SinkError: the run has no folder, the path leaves it, or the disk refused.
        """
        self._path = resolve_inside(run_folder(info, "coco"), self._name, "coco")
        make_folder(self._path.parent)
        self._info = info
        self._classes = set(range(len(info.class_names)))
        names = ("annotations",) if self._layout == "results" else ("images", "annotations", "tracks")
        self._parts = {name: AppendFile(self._part(name)) for name in names}

    def write(self, result: Result) -> None:
        """Append the frame and its detections.

        Raises:
            SinkError: the disk refused; what was written before stays.
        """
        if not self._parts:
            return
        annotations = list(self._annotations(result))
        if self._layout == "dataset":
            self._append("tracks", self._new_tracks(annotations))
            self._append("images", [_image(result)])
        self._append("annotations", annotations)

    def close(self) -> None:
        """Make one file of what was written.

        Raises:
            SinkError: the disk refused; the files of lines stay then.
        """
        parts, self._parts = self._parts, {}
        for part in parts.values():
            part.close()
        if not parts:
            return
        with replacing(self._path) as temporary, temporary.open("wb") as file:
            file.writelines(self._document(list(parts)))
        for name in parts:
            self._part(name).unlink(missing_ok=True)

    def _part(self, name: str) -> Path:
        return self._path.with_name(f"{self._path.stem}.{name}.part")

    def _append(self, name: str, entries: Iterable[dict[str, Any]]) -> None:
        self._parts[name].write(self._encoder.encode_lines(list(entries)))

    def _annotations(self, result: Result) -> Iterator[dict[str, Any]]:
        image = result.frame.index + 1
        for record in detection_records(result):
            x0, y0, x1, y1 = record.bbox
            width, height = round(x1 - x0, _DECIMALS), round(y1 - y0, _DECIMALS)
            self._classes.add(record.class_id)
            self._count += 1
            entry: dict[str, Any] = {
                "image_id": image,
                "category_id": record.class_id + 1,
                "bbox": [x0, y0, width, height],
                "score": record.conf,
            }
            if record.landmarks:
                entry["keypoints"] = [number for x, y in record.landmarks for number in (x, y, _VISIBLE)]
            if record.track_id is not None:
                entry["track_id"] = record.track_id
            if self._layout == "dataset":
                entry |= {"id": self._count, "video_id": _VIDEO, "iscrowd": 0, "area": round(width * height, _DECIMALS)}
                entry |= {"num_keypoints": len(record.landmarks)} if record.landmarks else {}
            yield entry

    def _new_tracks(self, annotations: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for entry in annotations:
            track_id = entry.get("track_id")
            if track_id is not None and track_id not in self._known:
                self._known.add(track_id)
                yield {"id": track_id, "category_id": entry["category_id"], "video_id": _VIDEO}

    def _document(self, parts: Iterable[str]) -> Iterator[bytes]:
        """Yield the pieces of the file: never more than a line of what was written is in memory."""
        if self._layout == "results":
            yield from self._list("annotations")
            yield b"\n"
            return
        source = self._info.source
        video = {"id": _VIDEO, "name": source.uri, "width": source.width, "height": source.height}
        head = {
            "info": {"description": source.uri, "contributor": f"streamtrack, model {self._info.model}"},
            "licenses": [],
            "videos": [video],
            "categories": [self._category(class_id) for class_id in sorted(self._classes)],
        }
        yield self._encoder.encode(head).removesuffix(b"}")
        for name in parts:
            yield b',\n"%s":' % name.encode()
            yield from self._list(name)
        yield b"}\n"

    def _list(self, name: str) -> Iterator[bytes]:
        before = b"["
        with self._part(name).open("rb") as lines:
            for line in lines:
                yield before + b"\n" + line.rstrip(b"\n")
                before = b","
        yield b"[]" if before == b"[" else b"\n]"

    def _category(self, class_id: int) -> dict[str, Any]:
        names = self._info.class_names
        category: dict[str, Any] = {
            "id": class_id + 1,
            "name": names[class_id] if class_id < len(names) else f"class {class_id}",
        }
        if self._info.keypoints:
            category |= {"keypoints": [f"point {k}" for k in range(self._info.keypoints)], "skeleton": []}
        return category


def _image(result: Result) -> dict[str, Any]:
    frame = result.frame
    return {
        "id": frame.index + 1,
        "video_id": _VIDEO,
        "file_name": f"frames/{frame.index:08d}.jpg",
        "width": frame.width,
        "height": frame.height,
        "frame_index": frame.index,
        "ts_s": frame.ts_s,
    }
