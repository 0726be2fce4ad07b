"""What the commands about a pipeline share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from penstock.errors import InvalidInput
from streams.dead_letters_selection import moment_ms


class Moment(click.ParamType):
    """A time as people write it: `2h` or `7d` ago, or ISO 8601; in milliseconds of Unix time."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read one."""
        try:
            return value if isinstance(value, int) else moment_ms(value, round(time.time() * 1000))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class StrictCommand(click.Command):
    """A command that answers a wrong command line in one line and with exit code 2, as it does wrong files."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments.

        Raises:
            InvalidInput: one of them cannot be.
        """
        try:
            return super().parse_args(ctx, args)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            said = " ".join(error.format_message().split()).rstrip(".")
            raise InvalidInput(said, f"see `{ctx.command_path} --help`") from error


config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("penstock.toml"),
    show_default=True,
    help="The pipeline's settings.",
)
log_level_option = click.option(
    "--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), default="INFO", show_default=True
)
