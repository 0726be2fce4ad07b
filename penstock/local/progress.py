"""Showing the one download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console


class Progress(Protocol):
    """What a download tells: `begin` once, then bytes from several threads, then `end`."""

    def begin(self, title: str, total_bytes: int) -> None:
        """A download of `total_bytes` starts."""

    def advance(self, count: int) -> None:
        """`count` more bytes have come; negative when a broken attempt is discounted."""

    def end(self) -> None:
        """It is over, well or badly."""


class Silent:
    """Shows nothing: for tests and services."""

    def begin(self, title: str, total_bytes: int) -> None:
        """Show nothing."""

    def advance(self, count: int) -> None:
        """Show nothing."""

    def end(self) -> None:
        """Show nothing."""


class Bar:
    """A progress bar on a terminal; without a terminal, one line at the end."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console
        )
        self._task = self._bar.add_task("", start=False, visible=False)

    def begin(self, title: str, total_bytes: int) -> None:
        """Show the bar."""
        self._bar.update(self._task, description=title, total=total_bytes, visible=True)
        self._bar.start_task(self._task)
        self._bar.start()

    def advance(self, count: int) -> None:
        """Move the bar; safe from several threads."""
        self._bar.advance(self._task, count)

    def end(self) -> None:
        """Leave the finished bar where it is."""
        if self._bar.live.is_started:  # else it would still leave an empty line
            self._bar.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()
