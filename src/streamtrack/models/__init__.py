"""Detectors: model specifications, heads, preprocessing and the model zoo."""
