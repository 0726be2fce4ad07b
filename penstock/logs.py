"""Logs of our processes: one JSON object a line on standard error, the event's name stable, its facts beside it."""

from __future__ import annotations

import logging
import logging.config

#: Loggers of libraries whose chatter helps nobody at INFO.
_QUIET = ("kafka", "aiokafka", "faust", "mode", "asyncio", "absl", "h5py")


class RateLimit(logging.Filter):
    """Lets one record a logger and message through every `period_s` seconds, with a count of what it held back.

    A broker that is away makes client libraries log hundreds of lines a second.
    """

    def __init__(self, period_s: float = 10.0) -> None:
        super().__init__()
        self._period_s = period_s
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to let the record through."""
        key = (record.name, str(record.msg)[:120])
        at_s, held = self._last.get(key, (float("-inf"), 0))
        if record.created - at_s < self._period_s:
            self._last[key] = (at_s, held + 1)
            return False
        if len(self._last) > 1000:  # noqa: PLR2004 - bounded memory
            self._last.clear()
        self._last[key] = (record.created, 0)
        if held:
            record.msg = f"{record.msg} (and {held} like it)"
        return True


def configure(level: str = "INFO") -> None:
    """Route all logging through structlog's JSON renderer."""
    import structlog  # noqa: PLC0415 - not needed for --help

    chain = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": chain,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        structlog.processors.JSONRenderer(),
                    ],
                }
            },
            "filters": {"rate": {"()": RateLimit}},
            "handlers": {
                "ours": {"class": "logging.StreamHandler", "formatter": "json"},
                "libraries": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["rate"]},
            },
            "root": {"handlers": ["ours"], "level": level},
            "loggers": {name: {"handlers": ["libraries"], "level": "WARNING", "propagate": False} for name in _QUIET},
        }
    )
