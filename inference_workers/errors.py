"""What can stop a worker. Each message says what is wrong and what to do; each class has its exit code."""

from __future__ import annotations

from typing import ClassVar


class WorkerError(Exception):
    """A worker cannot go on."""

    #: Process exit code, after sysexits.h where it has a word for it.
    exit_code: ClassVar[int] = 1


class InvalidDevice(WorkerError):
    """The device was not understood or is not there; see `--device`."""

    exit_code = 64


class ModelNotFound(WorkerError):
    """No servable version lies under the model's directory."""

    exit_code = 64


class BrokenModel(WorkerError):
    """The model does not load, does not warm up, or fails on every record."""

    exit_code = 70


class SlotTaken(WorkerError):
    """Another live worker has this slot's name."""

    exit_code = 73


class MissingLibrary(WorkerError):
    """A setting needs an optional library that is not installed."""

    exit_code = 64


class RejectedInput(Exception):
    """The model cannot take this request: its tensors do not fit the signature, or computing them failed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
