"""SwAV: the backbone and its training."""
