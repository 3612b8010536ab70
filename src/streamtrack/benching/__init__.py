"""The benchmark: every runtime and model of a machine, the whole pipeline, and how many streams the machine holds."""
