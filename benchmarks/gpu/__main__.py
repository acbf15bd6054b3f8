"""The command `python -m benchmarks.gpu`. Processes find functions in `program`, which is no `__main__`."""

from benchmarks.gpu.program import main

if __name__ == "__main__":
    main()
