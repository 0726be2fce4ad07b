"""A certificate authority of our own, and what it signs: the broker's certificate and one for each user.

For the embedded broker alone: its key lies beside what it signs, which is fit for one machine and for trying things.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from penstock.local.files import write_atomically
from penstock.local.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: Two years: longer than anybody tries things out, and renewed by a start within the last month of it.
_VALID = dt.timedelta(days=730)
_RENEW_BEFORE = dt.timedelta(days=30)
#: Clocks of one machine agree; a VM that was just resumed may be a little behind.
_BACKDATED = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate and its key.

    Attributes:
        certificate: self-signed.
        key: signs what it issues.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls, now: dt.datetime) -> Authority:
        """A new one, valid from now on.

        Args:
            now: aware, in UTC.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("penstock embedded broker CA")
        certificate = (
            _builder(name, name, key.public_key(), now)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @property
    def pem(self) -> bytes:
        """Its certificate, for those who are to trust it."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(self, name: str, now: dt.datetime) -> bytes:
        """A key and a certificate that name a user or a broker, and the authority's own, as one PEM text.

        Java's PEM key store and OpenSSL both read all of it from one file. It may be shown by either end of a
        connection: a broker is also the client of another.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        both_ends = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))]
        public = self.key.public_key()
        certificate = (
            _builder(_name(name), self.certificate.subject, key.public_key(), now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(both_ends), critical=False)
            .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return _private(key) + certificate.public_bytes(Encoding.PEM) + self.pem


def ensure(directory: Path, names: Iterable[str], now: dt.datetime) -> None:
    """Have `ca.pem` and a `<name>.pem` each in a directory; what is there and still valid is kept.

    Raises:
        OSError: the disk is full.
    """
    authority = _known(directory, now)
    if authority is None:
        authority = Authority.new(now)
        for old in directory.glob("*.pem"):
            old.unlink()  # signed by another authority, or about to expire
        write_atomically(directory / "ca-key.pem", _private(authority.key), mode=0o600)
        write_atomically(directory / "ca.pem", authority.pem, mode=0o600)
    for name in names:
        path = directory / f"{name}.pem"
        if not path.exists():
            write_atomically(path, authority.issue(name, now), mode=0o600)


def _known(directory: Path, now: dt.datetime) -> Authority | None:
    """The authority of an earlier start; None when there is none, or it is about to expire."""
    try:
        certificate = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
        key = load_pem_private_key((directory / "ca-key.pem").read_bytes(), password=None)
    except (OSError, ValueError):
        return None
    if certificate.not_valid_after_utc - now < _RENEW_BEFORE or not isinstance(key, ec.EllipticCurvePrivateKey):
        return None
    return Authority(certificate, key)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    # PKCS 8, unencrypted: the only form that Java's PEM key store reads without a password in its properties.
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
