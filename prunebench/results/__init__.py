"""Rows, and what is said of them."""
