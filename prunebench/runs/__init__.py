"""What commands and Python API share."""
