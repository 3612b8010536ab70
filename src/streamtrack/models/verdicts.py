"""What the parity gate found, remembered per machine and model, so that it is not found anew in each run."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final, Literal

import msgspec

Verdict = Literal["agreed", "slower", "drifted", "failed", "unchecked"]
"""``slower``: the boxes agree, but the CPU is faster. ``unchecked``: nothing could be compared."""

_KEPT: Final = 200
_LASTING: Final = ("agreed", "slower")


class ParityMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """How an accelerator's answers compare with those of the CPU."""

    verdict: Verdict
    backend: str
    device: str
    precision: str
    """By which the tolerance was chosen."""
    frames: int = 0
    """That both were given."""
    boxes: int = 0
    """Of either side, that had to have a counterpart on the other."""
    disagreeing: int = 0
    """Of these, without one."""
    worst_iou: float | None = None
    """Least overlap of a box with its counterpart; None where none had one."""
    worst_score_gap: float = 0.0
    """Largest difference of a box's score from that of its counterpart."""
    ms: float | None = None
    """Inference of one frame on the accelerator, the first calls left out; None where that was not measured."""
    reference_ms: float | None = None
    """The same on the CPU."""
    note: str = ""
    """The verdict in words."""
    remembered: bool = False
    """Whether this was found in an earlier run."""


class _Kept(msgspec.Struct):
    schema_version: int = 1
    verdicts: dict[str, ParityMetrics] = {}


def key_of(*facts: object) -> str:
    """Return the name under which a verdict is kept that depends on all of ``facts``."""
    return hashlib.sha256(msgspec.json.encode([str(fact) for fact in facts])).hexdigest()


class Verdicts:
    """The verdicts in one file. What cannot be read or written is not remembered, which costs time and nothing else."""

    def __init__(self, path: Path | None) -> None:
        """Use ``path``, which need not exist; None to remember nothing."""
        self._path = path

    def recall(self, key: str) -> ParityMetrics | None:
        """Return what was kept under ``key``, marked as remembered, or None."""
        found = self._read().verdicts.get(key)
        return msgspec.structs.replace(found, remembered=True) if found else None

    def keep(self, key: str, found: ParityMetrics) -> None:
        """Remember ``found``, if it is a verdict that will hold in the next run; the oldest of too many go."""
        if self._path is None or found.verdict not in _LASTING:
            return
        kept = self._read()
        kept.verdicts.pop(key, None)
        kept.verdicts[key] = found
        kept.verdicts = dict(list(kept.verdicts.items())[-_KEPT:])
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
            temporary.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _read(self) -> _Kept:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept) if self._path else _Kept()
        except (OSError, msgspec.DecodeError):
            return _Kept()
        return kept if kept.schema_version == _Kept().schema_version else _Kept()
