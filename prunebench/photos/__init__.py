"""Folders of your own photos."""
