"""The URL that Redis clients take, put together from settings: user, password, certificates."""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from penstock.errors import InvalidSettings

#: Encrypted.
_TLS = "rediss"


def compose(
    url: str,
    *,
    username: str | None = None,
    password: str | None = None,
    ca_file: str | None = None,
    cert_file: str | None = None,
    key_file: str | None = None,
) -> str:
    """A URL with its user, its password and the certificates of a `rediss://` one: a secret.

    Args:
        url: `redis://host:port/db`, or `rediss://` for TLS.
        username: of an ACL user.
        password: of that user, or of the server.
        ca_file: whom to trust; the system's authorities by default.
        cert_file: what this side shows, where the server asks for it.
        key_file: its key; by default in the same file.

    Raises:
        InvalidSettings: the parts do not fit each other; the URL is not repeated, as it may hold a password.
    """
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        given = parts.username, parts.password
    except ValueError as error:
        raise InvalidSettings(
            "redis.url is not understood", "write redis://host:port/0, or rediss:// for TLS"
        ) from error
    if (username and given[0]) or (password and given[1]):
        raise InvalidSettings(
            "redis.username and redis.password are given, and redis.url has a user or a password too",
            "leave one of the two out",
        )
    if (ca_file or cert_file or key_file) and parts.scheme != _TLS:
        raise InvalidSettings(
            f"redis.ca_file, redis.cert_file and redis.key_file need TLS, and redis.url begins with {parts.scheme}://",
            "write rediss:// in the URL, or leave the files out",
        )
    if key_file and not cert_file:
        raise InvalidSettings("redis.key_file is given without redis.cert_file", "name the certificate's file too")
    if username or password:
        host = f"{quote(username or given[0] or '', safe='')}:{quote(password or given[1] or '', safe='')}@{host}"
    else:
        host = parts.netloc
    files = {"ssl_ca_certs": ca_file, "ssl_certfile": cert_file, "ssl_keyfile": key_file or cert_file}
    query = "&".join(filter(None, (parts.query, urlencode({name: file for name, file in files.items() if file}))))
    return urlunsplit(parts._replace(netloc=host, query=query))
