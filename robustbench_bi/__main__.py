"""`python -m robustbench_bi` and the console command `bivo-robust` are the same program."""

import sys


def main() -> None:
    """Run the command line; a `BivoRobustError` becomes one line on standard error and exit code 2."""
    from robustbench_bi.cli import cli

    sys.exit(cli())


if __name__ == "__main__":
    main()
