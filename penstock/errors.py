"""What can go wrong at the front door: settings, command line, embedded services. Each error says cause and cure."""

from __future__ import annotations

from typing import ClassVar


class PenstockError(Exception):
    """Base of all errors of this package.

    Attributes:
        cause: what happened, with the field, path or port and its value.
        cure: what the reader can do about it.
    """

    #: Process exit code, after sysexits.h where it has a word for it.
    exit_code: ClassVar[int] = 1

    def __init__(self, cause: str, cure: str) -> None:
        super().__init__(f"{cause}: {cure}")
        self.cause = cause
        self.cure = cure


class LocalServicesError(PenstockError):
    """The embedded Kafka or Redis cannot be provided."""

    exit_code = 69


class PartMissing(LocalServicesError):
    """A part of the optional extra `local` is not installed, or does not run on this platform."""


class NoNetwork(LocalServicesError):
    """The broker's jars have to be downloaded once, and the network does not reach their repository."""


class JarUnavailable(LocalServicesError):
    """The repository answers, but does not hand out a jar."""


class CorruptJar(LocalServicesError):
    """A downloaded jar is not the one that was pinned."""


class DiskFull(LocalServicesError):
    """The disk (or the quota) has no room left."""

    exit_code = 74


class DirectoryUnusable(LocalServicesError):
    """A directory cannot hold the services' data: not writable, or a name that Kafka cannot take."""

    exit_code = 73


class DirectoryBusy(LocalServicesError):
    """Another `up` or `down` is at work in the same directory and does not come to an end."""

    exit_code = 75


class PortTaken(LocalServicesError):
    """A port that was asked for belongs to another process."""


class AlreadyRunning(LocalServicesError):
    """The services run already, and differently from what is asked."""


class ServiceFailed(LocalServicesError):
    """A service did not come up, or does not stop."""


class InvalidSettings(PenstockError):
    """The settings file or a `PENSTOCK_*` variable says something that cannot be."""

    exit_code = 64


class NotInstalled(PenstockError):
    """A command needs an optional part that is not installed."""

    exit_code = 69


class KafkaUnusable(PenstockError):
    """Kafka cannot be reached, or refuses what a command needs."""

    exit_code = 69


class RedisUnusable(PenstockError):
    """Redis cannot be reached, or refuses what a command needs."""

    exit_code = 69


class NotFound(PenstockError):
    """What a command was asked to show does not exist."""


class InvalidInput(PenstockError):
    """What a command was given to work on cannot be: a number out of range, an empty or unreadable file.

    Said in one line, and nothing is written.
    """

    exit_code = 2


class TraceError(InvalidInput):
    """A trace file cannot be used; the message names file, line and value."""
