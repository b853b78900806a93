"""Passkeys (WebAuthn level 3): what browsers are asked, and whether their answers hold. Touches no database."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from app.late import late

if TYPE_CHECKING:
    import webauthn
    from webauthn.helpers import cose, exceptions, structs
    from webauthn.helpers.structs import AuthenticationCredential, RegistrationCredential
else:
    webauthn = late("webauthn")
    cose, exceptions, structs = map(
        late, ("webauthn.helpers.cose", "webauthn.helpers.exceptions", "webauthn.helpers.structs")
    )

RP_NAME = "Polyclinic"
LONGEST = 16_384
"""Characters of a browser's answer; those with an attestation by a TPM have about 6,000."""
TIMEOUT_MS = 300_000


class BadPasskey(Exception):
    """The browser's answer does not hold. The text says nothing that the client does not know."""


@dataclass(frozen=True, slots=True)
class Site:
    """For whom passkeys are made and where: `rp_id` is a domain, `origin` the page's own, such as
    `https://north.clinics.io`."""

    rp_id: str
    origin: str


@dataclass(frozen=True, slots=True)
class NewKey:
    """A credential whose registration holds."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    backed_up: bool
    transports: list[str]


@contextmanager
def _judged() -> Iterator[None]:
    """Whatever a hostile answer makes the parsers raise means that it does not hold."""
    try:
        yield
    except (
        exceptions.WebAuthnException,
        InvalidSignature,
        UnsupportedAlgorithm,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
        OverflowError,
        struct.error,
    ) as error:
        raise BadPasskey from error


def registration_options(
    site: Site, *, user_id: bytes, email: str, name: str, challenge: bytes, known: Sequence[bytes]
) -> str:
    """What `navigator.credentials.create` is to be asked, as the JSON of PublicKeyCredentialCreationOptions."""
    return webauthn.options_to_json(
        webauthn.generate_registration_options(
            rp_id=site.rp_id,
            rp_name=RP_NAME,
            user_id=user_id,
            user_name=email,
            user_display_name=name,
            challenge=challenge,
            timeout=TIMEOUT_MS,
            authenticator_selection=structs.AuthenticatorSelectionCriteria(
                resident_key=structs.ResidentKeyRequirement.REQUIRED,
                require_resident_key=True,
                user_verification=structs.UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[structs.PublicKeyCredentialDescriptor(id=one) for one in known],
            supported_pub_key_algs=_algorithms(),
        )
    )


def sign_in_options(site: Site, *, challenge: bytes) -> str:
    """What `navigator.credentials.get` is to be asked, as the JSON of PublicKeyCredentialRequestOptions.

    It names no credential: the person picks one of those that their device has for the site.
    """
    return webauthn.options_to_json(
        webauthn.generate_authentication_options(
            rp_id=site.rp_id,
            challenge=challenge,
            timeout=TIMEOUT_MS,
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        )
    )


def _algorithms() -> list[cose.COSEAlgorithmIdentifier]:
    known = cose.COSEAlgorithmIdentifier
    return [known.ECDSA_SHA_256, known.EDDSA, known.RSASSA_PKCS1_v1_5_SHA_256]


def digest(challenge: bytes) -> str:
    """The name under which a challenge is kept."""
    return hashlib.sha256(challenge).hexdigest()


@dataclass(frozen=True, slots=True)
class Registration:
    """A browser's answer to `registration_options`, read but not judged."""

    credential: RegistrationCredential
    challenge: bytes

    @classmethod
    def read(cls, text: str) -> Registration:
        """Raises `BadPasskey`."""
        with _judged():
            credential = webauthn.helpers.parse_registration_credential_json(_object(text))
            return cls(credential, _challenge(credential.response.client_data_json))

    def verified(self, site: Site) -> NewKey:
        """The new credential. Raises `BadPasskey` unless it was made at the site, by a person who was verified."""
        with _judged():
            found = webauthn.verify_registration_response(
                credential=self.credential,
                expected_challenge=self.challenge,
                expected_rp_id=site.rp_id,
                expected_origin=site.origin,
                require_user_verification=True,
                supported_pub_key_algs=_algorithms(),
            )
            if found.credential_id != self.credential.raw_id:
                raise ValueError("names another credential than it made")
            transports = [one.value for one in self.credential.response.transports or ()]
            return NewKey(
                found.credential_id,
                found.credential_public_key,
                found.sign_count,
                found.credential_backed_up,
                transports,
            )


@dataclass(frozen=True, slots=True)
class Assertion:
    """A browser's answer to `sign_in_options`, read but not judged."""

    credential: AuthenticationCredential
    challenge: bytes

    @classmethod
    def read(cls, text: str) -> Assertion:
        """Raises `BadPasskey`."""
        with _judged():
            credential = webauthn.helpers.parse_authentication_credential_json(_object(text))
            return cls(credential, _challenge(credential.response.client_data_json))

    @property
    def credential_id(self) -> bytes:
        return self.credential.raw_id

    @property
    def user_handle(self) -> bytes | None:
        """Whose credential the device says it is."""
        return self.credential.response.user_handle

    def verified(self, site: Site, *, public_key: bytes, sign_count: int) -> int:
        """The device's new count of signatures. Raises `BadPasskey`, also when it did not grow: a copy may sign."""
        with _judged():
            return webauthn.verify_authentication_response(
                credential=self.credential,
                expected_challenge=self.challenge,
                expected_rp_id=site.rp_id,
                expected_origin=site.origin,
                credential_public_key=public_key,
                credential_current_sign_count=sign_count,
                require_user_verification=True,
            ).new_sign_count


def _object(text: str) -> dict[str, object]:
    if len(text) > LONGEST:
        raise ValueError("too long")
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError("not an object")
    return found


def _challenge(client_data: bytes) -> bytes:
    """The challenge that was answered, from a page that is not embedded in another one."""
    found = webauthn.helpers.parse_client_data_json(client_data)
    if found.cross_origin:
        raise ValueError("embedded in another page")
    return found.challenge
