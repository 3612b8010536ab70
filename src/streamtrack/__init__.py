"""streamtrack turns moving pictures into tracks, as they arrive."""
