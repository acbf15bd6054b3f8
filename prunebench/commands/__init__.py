"""Commands beside the benchmark itself, a module for those that belong together: parsing and printing."""
