"""The `penstock` command. Commands are imported when called, so that `--help` is quick and needs no TensorFlow."""

from __future__ import annotations

import errno
import importlib
import io
import math
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

import click

from penstock.errors import InvalidInput, NotInstalled, PenstockError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Command -> its line in `--help`.
COMMANDS = {
    "demo": "The main job end to end on this machine, with a verdict and a report.",
    "up": "Start the embedded Kafka and Redis.",
    "down": "Stop them.",
    "status": "What runs here.",
    "topics": "Create or check a pipeline's topics.",
    "worker": "Serve a model between two topics.",
    "autoscaler": "Decide how many workers run, and see to it.",
    "explain": "Why the fleet is as it is: a decision in words.",
    "replay": "A recorded tape through the same policy or another one: the same decisions, or where they part.",
    "dlq": "Dead letters: look at them, send their requests again, delete them.",
    "backtest": "The forecast against what came, on a trace.",
    "simulate": "Scaling policies against made-up and recorded loads, in simulated time.",
    "bench": "What the data plane costs here, beside the alternatives.",
    "analyse": "What a workload is like: from a trace file, or from the requests topic itself.",
    "profile": "What a model costs on a device: seconds a batch, memory, start.",
    "plan": "How many workers and partitions a load needs, and what they cost.",
    "loadtest": "A ramp against the running pipeline, up to where it breaks.",
    "train": "An example model trained here, and what that took of the machine.",
    "model": "Versions of a model: list, pin, roll back, compare, import.",
    "verify": "Faults on purpose, and a ledger of every request.",
    "acls": "The permissions that each role needs in Kafka.",
    "health": "Whether a worker or an autoscaler on this host is alive.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        try:
            module = importlib.import_module(f"penstock.cli.{cmd_name}")
        except ModuleNotFoundError as error:
            if error.name and error.name.split(".")[0] in {"penstock", "streams", "autoscaler", "inference_workers"}:
                raise
            raise NotInstalled(
                f"`penstock {cmd_name}` needs {error.name!r}, which is not installed", "pip install 'penstock[all]'"
            ) from error
        command: click.Command = module.command
        _only_finite(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _finite(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Refuse nan and inf, which pass every range."""
    if isinstance(value, float) and not math.isfinite(value):
        raise click.BadParameter(f"{value:g} is no finite number", ctx, param)
    return value


def _only_finite(command: click.Command) -> None:
    """Have every number that a command or its subcommands take checked."""
    for param in command.params:
        if isinstance(param.type, click.types.FloatParamType) and param.callback is None:
            param.callback = _finite
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _only_finite(below)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("penstock"), prog_name="penstock")
def cli() -> None:
    """TensorFlow inference between two Kafka topics, scaled ahead of the load, each request answered exactly once."""


def _told(error: click.ClickException) -> str:
    """What is wrong with a command line and where it says how it should be, in one line; the help, if it is empty."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return f"{error.format_message()}\n"
    said = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"Error: {said}; see `{context.command_path} --help`\n" if context else f"Error: {said}\n"


def _unusable(error: OSError | MemoryError) -> str:
    """A file or a stream that cannot be read or written, or what is too large, in one line."""
    if isinstance(error, MemoryError):
        return f"Error: not enough memory: {str(error) or 'nothing is left'}; give less to work on\n"
    said = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        return f"Error: {error.filename}: {said}; name a place that can be read and written\n"
    cure = "make room where the output goes" if error.errno == errno.ENOSPC else "see to it, then run the command again"
    return f"Error: {said}; {cure}\n"


def _flush() -> None:
    """Write out what is held back, so that a full disk is told and not lost at the end of the process."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Or the interpreter tries once more, and complains.
        sys.stdout = io.StringIO()
        if not isinstance(error, BrokenPipeError):
            raise


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; errors become two lines, cause and cure, and an exit code.

    A command line that is wrong is one line and 2; the rest is after sysexits.h.
    """
    try:
        result = cli.main(None if arguments is None else list(arguments), prog_name="penstock", standalone_mode=False)
        _flush()
    except click.exceptions.Abort:
        sys.stderr.write("Stopped.\n")
        return 130
    except click.ClickException as error:
        sys.stderr.write(_told(error))
        return InvalidInput.exit_code
    except PenstockError as error:
        between = "; " if isinstance(error, InvalidInput) else "\nDo: "
        sys.stderr.write(f"Error: {error.cause}{between}{error.cure}\n")
        return error.exit_code
    except (OSError, MemoryError) as error:
        sys.stderr.write(_unusable(error))
        return InvalidInput.exit_code
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    return result if isinstance(result, int) else 0
