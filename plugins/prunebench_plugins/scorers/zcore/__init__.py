"""ZCore: the scorer and its rounds."""
