"""The built-in backends. Installed as ``minigraph.backends``; found through entry points."""
