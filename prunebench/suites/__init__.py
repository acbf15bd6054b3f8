"""What to run: suite files, recipes and tuning rules -> cells."""
