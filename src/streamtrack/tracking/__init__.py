"""The tracker: pure computation over arrays, without IO, clock, logging or configuration."""

from streamtrack.tracking._jit import kernel

# The evaluation compiles its matching in the same way, into the same folder.
__all__ = ["kernel"]
