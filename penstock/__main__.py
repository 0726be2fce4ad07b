"""`penstock` and `python -m penstock`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        the exit code.

    """
    try:
        from penstock.cli.main import run  # noqa: PLC0415 - the base install lacks the command line's libraries
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in {"penstock", "streams", "autoscaler", "inference_workers"}:
            raise
        sys.stderr.write(
            f"Error: the command line needs {error.name!r}, which is not installed.\n"
            "Do: pip install 'penstock[all]' (or [local], [worker], [autoscaler]); the base install is the client.\n"
        )
        return 69
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
