"""What an autoscaler makes sure of before it begins. A broker that is away is no reason to end: it is waited for."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

from streams import preflight
from streams.acls import Role, of_role
from streams.errors import BrokerUnavailable
from streams.kafka import Admin

if TYPE_CHECKING:
    from penstock.autoscaler_process import AutoscalerProcessSettings

log = logging.getLogger(__name__)

#: Milliseconds for the first connection: this only looks, and the process tries on for as long as it takes.
_BOOTSTRAP_MS = 3_000


def check(settings: AutoscalerProcessSettings) -> None:
    """Ask the broker about each permission that this autoscaler needs.

    Raises:
        NotAuthorized: names what is missing and how it is granted.
        AuthenticationFailed: the broker refuses the credentials.
    """
    kafka = dataclasses.replace(settings.kafka, bootstrap_timeout_ms=_BOOTSTRAP_MS)
    grants = of_role(Role.AUTOSCALER, settings.pipeline, manages_workers=settings.actuator == "processes")
    try:
        with Admin(kafka, "penstock-autoscaler-preflight", retry_s=1.0) as admin:
            preflight.check(admin, grants, role=Role.AUTOSCALER, settings=kafka, creates_topics=True)
    except BrokerUnavailable as error:
        log.warning("autoscaler.not_checked", extra={"pipeline": settings.pipeline, "error": str(error)})
