"""What a machine has, what a source sends, and what follows from both: the work behind ``streamtrack doctor``."""
