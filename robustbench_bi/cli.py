"""The command line: a group over the table of commands, which imports a command when it is used."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import click
from click.shell_completion import CompletionItem

from robustbench_bi import __version__
from robustbench_bi.commands import COMMANDS
from robustbench_bi.commands.endings import one_line_endings
from robustbench_bi.ground.registry import nearest


class Commands(click.Group):
    """A group whose commands are the rows of a table; what it shows of them comes from the rows alone."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in the order of the sections."""
        return list(COMMANDS.names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        # A row's code is a command, which is an object that can be called.
        command: Any = COMMANDS.load(cmd_name)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments begin with; a typo is answered with the nearest one."""
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command {args[0]!r}. {nearest(args[0], COMMANDS.names)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands in their sections."""
        width = max(map(len, COMMANDS.names))
        for section, rows in groupby(COMMANDS, key=lambda row: row.section):
            with formatter.section(section):
                formatter.write_dl([(f"{row.name:<{width}}", row.summary) for row in rows])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names of commands, and the options of the program itself."""
        rows = [row for row in COMMANDS if row.name.startswith(incomplete)]
        names = [CompletionItem(row.name, help=row.summary) for row in rows]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        with one_line_endings(ctx):
            return super().invoke(ctx)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bivo-robust")
def cli() -> None:
    """Corruption robustness of classifiers and detectors: ImageNet-C with intervals and paired tests, and BiNet.

    Exit codes: 0 success, 1 regression (`gate` only), 2 invalid input or another reported error, 130 stopped by
    Ctrl-C, 143 by SIGTERM. A stopped command says what it saved and how to resume.
    """
