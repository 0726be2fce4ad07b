"""Where the embedded services keep their things."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.errors import DirectoryUnusable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Overrides the per-user cache directory, for example on a machine whose home is small.
CACHE_VARIABLE = "PENSTOCK_CACHE"


def cache_directory(environment: Mapping[str, str], home: Path) -> Path:
    """The per-user cache of all runs: `$PENSTOCK_CACHE`, else `$XDG_CACHE_HOME/penstock`, else `~/.cache/penstock`."""
    if own := environment.get(CACHE_VARIABLE):
        return type(home)(own).expanduser().absolute()
    xdg = environment.get("XDG_CACHE_HOME", "")
    # A relative XDG path is invalid by its specification and is to be ignored.
    base = type(home)(xdg) if os.path.isabs(xdg) else home / ".cache"  # noqa: PTH117 - "" must not become "."
    return base / "penstock"


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one directory's services.

    Attributes:
        directory: the user's directory, absolute.
    """

    directory: Path

    @classmethod
    def of(cls, directory: Path) -> Layout:
        """The layout of a directory, made absolute.

        Raises:
            DirectoryUnusable: the path has a comma or a line break, which Kafka's `log.dirs` cannot express.
        """
        absolute = directory.expanduser().resolve()
        if bad := [c for c in (",", "\n", "\r", '"') if c in str(absolute)]:
            raise DirectoryUnusable(
                f"directory {str(absolute)!r} contains {bad[0]!r}, which Kafka's log.dirs cannot express",
                "choose a directory without commas, quotes and line breaks",
            )
        return cls(absolute)

    @property
    def root(self) -> Path:
        """Everything of ours."""
        return self.directory / ".penstock"

    @property
    def state(self) -> Path:
        """Which processes were started with which ports."""
        return self.root / "services.json"

    @property
    def lock(self) -> Path:
        """Held while services are started or stopped."""
        return self.root / "services.lock"

    @property
    def kafka(self) -> Path:
        """The broker's folder: properties, data, logs."""
        return self.root / "kafka"

    @property
    def security(self) -> Path:
        """A secured broker's certificates, keys and passwords, for their owner alone."""
        return self.root / "security"

    @property
    def redis(self) -> Path:
        """The Redis-protocol server's folder."""
        return self.root / "redis"

    @property
    def redis_url(self) -> Path:
        """The URL with its password, for its owner alone (mode 0600)."""
        return self.root / "redis-url"


def make_private(directory: Path) -> None:
    """Create a directory for its owner alone.

    Raises:
        DirectoryUnusable: it cannot be created or written to.
        OSError: the disk is full (translated by the caller, who knows what was being done).
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise DirectoryUnusable(
            f"cannot create {directory} ({error.strerror})", "choose a directory that you may write to with --directory"
        ) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise DirectoryUnusable(
            f"{directory} is not writable", "change its permissions, or choose another directory with --directory"
        )
