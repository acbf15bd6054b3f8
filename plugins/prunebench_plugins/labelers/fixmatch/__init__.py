"""FixMatch: the labeler and its training."""
