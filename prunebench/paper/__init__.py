"""What papers print, beside our own numbers."""
