"""The operating system: files, leases, processes, signals and the terminal."""
