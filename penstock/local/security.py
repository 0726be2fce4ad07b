"""The embedded broker behind locks: encrypted listeners, users, and an authorizer that denies what nobody allowed.

Two listeners for clients: `SASL` (TLS, a user's password by SCRAM-SHA-512 or PLAIN) and `MUTUAL` (TLS, a user's
certificate). The broker's own links go over TLS with its certificate. A user has one name on all ways, so that one set
of ACLs holds. Passwords and keys lie in files of mode 0600, and never on a command line.
"""

from __future__ import annotations

import datetime as dt
import secrets
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from penstock.local import certificates
from penstock.local.files import write_atomically
from penstock.local.paths import make_private
from penstock.local.ports import HOST

if TYPE_CHECKING:
    from pathlib import Path

#: May do everything; the only one with rights in the beginning, besides the broker itself.
ADMIN = "admin"
#: One for each role of `penstock acls`, each without rights until they are granted.
ROLE_USERS = ("client", "worker", "autoscaler", "operator")
USERS = (ADMIN, *ROLE_USERS)
#: The broker's name in its certificate.
BROKER = "broker"
#: 24 random bytes: beyond guessing, short enough for one line.
_PASSWORD_BYTES = 24

#: How a client proves who it is.
Way = Literal["scram", "plain", "mutual"]


@dataclass(frozen=True, slots=True)
class SecuritySpec:
    """What a secured broker has beside its ports.

    Attributes:
        directory: holds certificates, keys and passwords.
        mutual_port: loopback port of the listener that asks for a certificate.
    """

    directory: Path
    mutual_port: int

    @property
    def ca(self) -> Path:
        """Whom clients are to trust."""
        return self.directory / "ca.pem"

    def certificate(self, user: str) -> Path:
        """A user's key and certificate, in one file."""
        return self.directory / f"{user}.pem"

    def password_file(self, user: str) -> Path:
        """The file with a user's password."""
        return self.directory / f"{user}.password"

    def password(self, user: str) -> str:
        """A user's password: a secret.

        Raises:
            OSError: there is no such user.
        """
        return self.password_file(user).read_text(encoding="ascii").strip()

    def prepare(self) -> None:
        """Have certificates and passwords; those of an earlier start are kept.

        Raises:
            OSError: the disk is full.
        """
        make_private(self.directory)
        certificates.ensure(self.directory, (BROKER, *USERS), dt.datetime.now(dt.UTC))
        for user in USERS:
            if not self.password_file(user).exists():
                write_atomically(self.password_file(user), secrets.token_urlsafe(_PASSWORD_BYTES) + "\n", mode=0o600)

    def context(self, user: str) -> ssl.SSLContext:
        """For a connection to the listener that asks for a certificate.

        Raises:
            OSError: the certificates are not there.
        """
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.certificate(user))
        return context


def properties(spec: SecuritySpec, *, port: int, controller_port: int) -> dict[str, object]:
    """What `server.properties` says differently with locks.

    Raises:
        OSError: `SecuritySpec.prepare` was not called.
    """
    # Kafka's JAAS syntax: the passwords are URL-safe, so nothing in them has to be escaped.
    plain_users = " ".join(f'user_{user}="{spec.password(user)}"' for user in USERS)
    listeners = f"SASL://{HOST}:{port},MUTUAL://{HOST}:{spec.mutual_port}"
    return {
        "listeners": f"{listeners},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": listeners,
        "inter.broker.listener.name": "MUTUAL",
        "listener.security.protocol.map": "CONTROLLER:SSL,SASL:SASL_SSL,MUTUAL:SSL",
        "ssl.client.auth": "required",
        "listener.name.sasl.ssl.client.auth": "none",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": spec.certificate(BROKER),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": spec.ca,
        # A certificate's user is its common name and nothing else, as after a log-in by password.
        "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "listener.name.sasl.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "listener.name.sasl.plain.sasl.jaas.config": (
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {plain_users};"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{ADMIN};User:{BROKER}",
        "allow.everyone.if.no.acl.found": "false",
    }


def client_settings(spec: SecuritySpec, user: str, way: Way) -> dict[str, Any]:
    """`kafka.client` for a user; the password is named by its file.

    Args:
        spec: whose users they are.
        user: one of `USERS`, or one that was added since.
        way: `scram` and `plain` for the SASL listener, `mutual` for the other.
    """
    trust = {"ssl_cafile": str(spec.ca)}
    if way == "mutual":
        own = str(spec.certificate(user))
        return {"security_protocol": "SSL", **trust, "ssl_certfile": own, "ssl_keyfile": own}
    return {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512" if way == "scram" else "PLAIN",
        "sasl_plain_username": user,
        "sasl_plain_password": f"file:{spec.password_file(user)}",
        **trust,
    }


def create_users(spec: SecuritySpec, port: int) -> None:
    """Have the broker take each user's password by SCRAM; those it takes already are set again.

    Args:
        spec: whose users they are.
        port: of the listener for passwords.

    Raises:
        KafkaFailure: the broker, which serves already, refuses.
    """
    from streams.kafka import KafkaSettings  # noqa: PLC0415 - an unsecured start needs no Kafka client
    from streams.kafka.grants import GrantsAdmin, wait_for_user  # noqa: PLC0415

    settings = KafkaSettings(f"{HOST}:{spec.mutual_port}", client=client_settings(spec, ADMIN, "mutual"))
    with GrantsAdmin(settings, "penstock-local") as admin:
        admin.set_passwords({user: spec.password(user) for user in USERS})
    # They were set together, so one tells of all.
    wait_for_user(KafkaSettings(f"{HOST}:{port}", client=client_settings(spec, ADMIN, "scram")))
