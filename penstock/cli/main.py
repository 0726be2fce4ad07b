"""The `penstock` command. Commands are imported when called, so that `--help` is quick and needs no TensorFlow."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from typing import TYPE_CHECKING

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
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


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


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; errors become two lines, cause and cure, and an exit code.

    A command line that is wrong is one line and 2; the rest is after sysexits.h.
    """
    try:
        result = cli.main(None if arguments is None else list(arguments), prog_name="penstock", standalone_mode=False)
    except click.exceptions.Abort:
        sys.stderr.write("Stopped.\n")
        return 130
    except click.ClickException as error:
        sys.stderr.write(_told(error))
        return InvalidInput.exit_code
    except InvalidInput as error:
        sys.stderr.write(f"Error: {error.cause}; {error.cure}\n")
        return error.exit_code
    except PenstockError as error:
        sys.stderr.write(f"Error: {error.cause}\nDo: {error.cure}\n")
        return error.exit_code
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    return result if isinstance(result, int) else 0
