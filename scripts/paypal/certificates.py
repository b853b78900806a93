"""The simulator's own chain of certificates: a root that nobody else trusts, what lies between, and who signs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SIGNER = "messageverificationcerts.sandbox.paypal.com"
"""Whom PayPal's sandbox makes its certificate out to."""
LASTS = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Chain:
    """`root` and `chain` (the signer's certificate first) as PEM, and the signer's key."""

    root: bytes
    chain: bytes
    key: rsa.RSAPrivateKey

    def sign(self, message: bytes) -> bytes:
        """SHA256withRSA."""
        return self.key.sign(message, padding.PKCS1v15(), SHA256())


@dataclass(frozen=True, slots=True)
class _Issuer:
    certificate: x509.Certificate
    key: rsa.RSAPrivateKey


def make_chain(name: str = SIGNER, *, ends: datetime | None = None) -> Chain:
    """A fresh chain for a signer of that name, good for a year or until `ends`."""
    root = _authority("PayPal Simulator Root", None)
    middle = _authority("PayPal Simulator CA", root)
    key = rsa.generate_private_key(65_537, 2_048)
    leaf = _signed(
        name,
        key.public_key(),
        middle,
        [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.SubjectAlternativeName([x509.DNSName(name)]), False),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
            (_usage(signs_certificates=False), True),
        ],
        ends,
    )
    return Chain(_pem(root.certificate), _pem(leaf) + _pem(middle.certificate), key)


def _authority(name: str, above: _Issuer | None) -> _Issuer:
    key = rsa.generate_private_key(65_537, 2_048)
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (_usage(signs_certificates=True), True),
    ]
    return _Issuer(_signed(name, key.public_key(), above, extensions, None, own=key), key)


def _signed(
    name: str,
    public: rsa.RSAPublicKey,
    above: _Issuer | None,
    extensions: list[tuple[x509.ExtensionType, bool]],
    ends: datetime | None,
    *,
    own: rsa.RSAPrivateKey | None = None,
) -> x509.Certificate:
    """A certificate, signed by the one above, or by its own key where there is none."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    key = above.key if above else own
    if key is None:
        raise ValueError("somebody must sign it")
    moment = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.certificate.subject if above else subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - LASTS)
        .not_valid_after(ends or moment + LASTS)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, SHA256())


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
