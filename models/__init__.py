"""Networks as short functions of tensors. Installed as ``minigraph.models``."""
