"""`python -m robustbench_bi` and the console command `bivo-robust` are the same program."""

import sys


def main() -> None:
    """Run the command line. What a terminal cannot show is replaced, and a full disk under stdout is one line."""
    from robustbench_bi.cli import cli

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
