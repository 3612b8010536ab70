"""HTML pages that need nothing else, and plots for them: no script, no font, no picture from anywhere."""
