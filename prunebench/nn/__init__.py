"""Networks and how they train."""
