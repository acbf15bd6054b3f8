"""Formats of the leaderboard: a document of typed tables in, text out."""
