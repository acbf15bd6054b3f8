"""Rows, and the tables made from them."""
