"""What is asked of the operating system: files, leases, processes, signals and the terminal."""
