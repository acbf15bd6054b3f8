"""Views: datasets made from others by changing their training split."""
