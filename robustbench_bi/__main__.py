"""`python -m robustbench_bi` and the console command `bivo-robust` are the same program."""

import gc
import sys

_OBJECTS = 200_000
"""New objects between two searches for garbage: with Python's 700 they take a twelfth of `compare`."""


def main() -> None:
    """Run the command line. What a terminal cannot show is replaced, and a full disk under stdout is one line."""
    from robustbench_bi.cli import cli

    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        sys.exit(cli())
    except OSError as error:
        sys.stderr.write(f"Error: cannot write the output: {error.strerror or error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
