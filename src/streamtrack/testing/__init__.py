"""Public conformance suites for sources, backends and sinks, and synthetic clips to run them on."""
