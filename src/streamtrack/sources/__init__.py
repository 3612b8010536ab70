"""Sources of frames, one module each, found through the entry point ``streamtrack.sources``."""
