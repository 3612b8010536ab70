"""A folder of pictures, one a second."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from streamtrack.api import SourceOptions
from streamtrack.errors import SourceOpenError
from streamtrack.types import NS_PER_S, Frame, SourceInfo, SourceStats


class StillPicture:
    def __init__(self, image: Image.Image) -> None:
        self._image = image

    def rgb(self, region, size, *, planar):
        part = self._image.crop(region)
        if part.size != size:
            part = part.resize(size, Image.Resampling.BILINEAR)
        pixels = np.array(part)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)).transpose(1, 2, 0) if planar else pixels


class StillsSource:
    def __init__(self, uri: str, options: SourceOptions) -> None:
        self._uri, self._options = uri, options
        self.stats = SourceStats()

    def open(self) -> SourceInfo:
        self._paths = sorted(Path(self._uri).glob("*.jpg"))
        try:
            with Image.open(self._paths[0]) as first:
                width, height = first.size
        except (IndexError, OSError, UnidentifiedImageError) as error:
            raise SourceOpenError(f"There is no JPEG file to begin with in '{self._uri}'.") from error
        return SourceInfo(
            uri=self._uri,
            width=width,
            height=height,
            rate=1.0,
            frames_estimate=len(self._paths),
            duration_s=float(len(self._paths)),
            live=False,
            codec="jpeg",
        )

    def __iter__(self) -> Iterator[Frame]:
        due_ns = 0
        for index, path in enumerate(self._paths):
            self.stats.seen += 1
            pts_ns = index * NS_PER_S
            if index % self._options.stride or pts_ns < due_ns:
                self.stats.strided += 1
                continue
            try:
                with Image.open(path) as file:
                    image = file.convert("RGB")
            except (OSError, UnidentifiedImageError):
                self.stats.corrupt += 1
                continue
            self.stats.delivered += 1
            if self._options.fps:
                due_ns = pts_ns + round(NS_PER_S / self._options.fps)
            yield Frame(index, pts_ns, *image.size, StillPicture(image))

    def close(self) -> None:
        self._paths = []
