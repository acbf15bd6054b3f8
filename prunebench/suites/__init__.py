"""Suites: suite files, recipes and tuning rules, and the cells they stand for."""
