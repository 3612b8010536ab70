"""The tracker: pure computation over arrays, without IO, clock, logging or configuration."""

from streamtrack.tracking._jit import cache_folder, cache_note, kernel

# The evaluation compiles its matching in the same way, into the same folder; a run says where that is.
__all__ = ["cache_folder", "cache_note", "kernel"]
