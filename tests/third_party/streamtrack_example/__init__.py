"""A package of somebody else: the plug-ins that docs/plugins.md shows, as they are installed."""
