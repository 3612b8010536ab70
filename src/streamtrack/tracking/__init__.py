"""The tracker: pure computation over arrays, without IO, clock, logging or configuration."""
