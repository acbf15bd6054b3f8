"""Drawings from rows and artefacts, one module per kind; each function returns a matplotlib Figure."""
