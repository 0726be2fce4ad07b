"""kafka-python's TLS settings as a context for libraries that take one."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def ssl_context(client: Mapping[str, Any]) -> ssl.SSLContext:
    """The context that kafka-python would build from `ssl_*` settings; a ready one in `ssl_context` wins.

    Raises:
        OSError: a certificate or key cannot be read.
    """
    given = client.get("ssl_context")
    if isinstance(given, ssl.SSLContext):
        return given
    context = ssl.create_default_context(cafile=client.get("ssl_cafile"))
    context.check_hostname = client.get("ssl_check_hostname", True)
    if client.get("ssl_crlfile"):
        context.load_verify_locations(client["ssl_crlfile"])
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    if client.get("ssl_ciphers"):
        context.set_ciphers(client["ssl_ciphers"])
    if client.get("ssl_certfile"):
        context.load_cert_chain(client["ssl_certfile"], client.get("ssl_keyfile"), client.get("ssl_password"))
    return context
