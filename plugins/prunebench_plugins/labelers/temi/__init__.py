"""TEMI: the labeler and the training of its heads."""
