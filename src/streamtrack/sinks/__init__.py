"""Sinks for results, one module each, found through the entry point ``streamtrack.sinks``."""
