"""A person's devices and second factors, and what a clinic asks of sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry
from strawberry import Maybe

from app.auth.sessions import SignedIn
from app.graphql.access import Level, field
from app.graphql.context import Info
from app.graphql.fields import row_type, stored
from app.graphql.inputs import given, object_id
from app.permissions import Permission
from app.services import devices, passkeys, second_factors, security_policy, sign_in
from resolvers.base import Resolver, shown
from resolvers.session import SignInType, signed_in

# --- types ------------------------------------------------------------------------------------------------------------


@row_type("DeviceSession", description="One sign-in of the person on one device.")
class DeviceSessionType:
    id: strawberry.ID = stored("_id", description="Opaque id; it opens nothing.")
    device: str = stored(description="What the device's browser or program calls itself.")
    address: str = stored(description="The address it signed in from.")
    opened_at: datetime = stored("created_at", description="When it signed in.")
    last_seen_at: datetime = stored(description="When it was last used, to the minute.")
    expires_at: datetime = stored(description="When it ends if it is not used.")
    second_factor: bool = stored(description="Whether more than a password was shown.")
    current: bool = stored(description="Whether it is the one that asks.")


@row_type("Passkey", description="A passkey of the person.")
class PasskeyType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    name: str = stored(description="What the person calls it.")
    backed_up: bool = stored(description="Whether it is kept for the person's other devices too.")
    created_at: datetime = stored(description="When it was registered.")
    last_used_at: datetime | None = stored(description="When somebody last signed in with it.")


@row_type("SecondFactors", description="What the person has beside their password.")
class SecondFactorsType:
    totp_since: datetime | None = stored("confirmed_at", description="Since when an authenticator app is in use.")
    recovery_codes_left: int = stored("recovery_codes", description="How many recovery codes are unused.")
    passkeys: list[PasskeyType] = stored(description="The passkeys, the oldest first; at most 20.")


@row_type("TotpSetup", description="What an authenticator app needs to know. It is shown once.")
class TotpSetupType:
    uri: str = stored(description="The `otpauth:` address, which holds the secret.")
    qr_svg: str = stored(description="The same as a QR code: an SVG element.")


@row_type("SecondFactorOn", description="A second factor was turned on; other sessions have ended.")
class SecondFactorOnType:
    recovery_codes: list[str] | None = stored(
        description="Ten codes, each good once in the place of another factor. Shown this once; null: those from "
        "before still hold."
    )
    sign_in: SignInType = stored(description="This session under its new name.")


@row_type("PasskeyRegistered", description="A passkey was registered; other sessions have ended.")
class PasskeyRegisteredType:
    passkey: PasskeyType = stored(description="The passkey.")
    second_factor: SecondFactorOnType = stored(description="What it turned on.")


@row_type("SecurityPolicy", description="What the clinic asks of sessions, beside what holds everywhere.")
class SecurityPolicyType:
    version: int = stored(description="The clinic's version: send it back when changing.")
    second_factor_required: bool = stored(description="Whether a session needs a second factor here.")
    session_hours: int | None = stored(description="Hours after signing in when a session ends here; null: as usual.")
    idle_minutes: int | None = stored(description="Minutes of rest after which a session ends here; null: as usual.")
    email_domains: list[str] = stored(description="Domains of the addresses that may be invited; empty: any.")
    people_without_second_factor: int = stored(description="How many of those who work here have no second factor.")


# --- inputs -----------------------------------------------------------------------------------------------------------


@strawberry.input(description="One of the person's sessions.")
class RevokeSessionInput:
    session_id: str = strawberry.field(description="The id that `sessions` shows.")


@strawberry.input(description="Proof by the person's password.")
class PasswordInput:
    password: str = strawberry.field(description="The password.")


@strawberry.input(description="The code that the authenticator app shows.")
class ConfirmTotpInput:
    code: str = strawberry.field(description="Six digits.")


@strawberry.input(description="Proof by both factors.")
class DisableTotpInput:
    password: str = strawberry.field(description="The password.")
    code: str = strawberry.field(description="A code of the app, or a recovery code.")


@strawberry.input(description="What the browser answered to `beginPasskeyRegistration`.")
class FinishPasskeyRegistrationInput:
    name: str = strawberry.field(description="What the person calls the passkey, such as the device.")
    credential: str = strawberry.field(
        description="The JSON text of the credential's `toJSON()`: a RegistrationResponseJSON of WebAuthn level 3."
    )


@strawberry.input(description="One of the person's passkeys, and proof by their password.")
class DeletePasskeyInput:
    passkey_id: str = strawberry.field(description="The id that `secondFactors` shows.")
    password: str = strawberry.field(description="The password.")


@strawberry.input(description="What the browser answered to `beginPasskeySignIn`.")
class FinishPasskeySignInInput:
    credential: str = strawberry.field(
        description="The JSON text of the credential's `toJSON()`: an AuthenticationResponseJSON of WebAuthn level 3."
    )


@strawberry.input(description="Changes to what the clinic asks. What is left out stays as it is; null means as usual.")
class UpdateSecurityPolicyInput:
    version: int = strawberry.field(description="The version that the change is based on.")
    second_factor_required: Maybe[bool] = strawberry.field(
        description="Whether a session needs a second factor here. Whoever turns it on must have shown theirs."
    )
    session_hours: Maybe[int | None] = strawberry.field(description="1 to 720; it can only shorten a session.")
    idle_minutes: Maybe[int | None] = strawberry.field(description="5 to 10,080; it can only shorten the rest.")
    email_domains: Maybe[list[str]] = strawberry.field(description="At most 20 domains.")


# --- fields -----------------------------------------------------------------------------------------------------------


async def _second_factor_on(info: Info, codes: list[str] | None, result: SignedIn) -> dict[str, Any]:
    known = await sign_in.known_by(result, info.context.settings)
    return {"recovery_codes": codes, "sign_in": signed_in(info, known, result)}


@strawberry.type
class SecurityQuery(Resolver):
    @field(
        Level.SIGNED_IN, description="The person's open sessions on all devices, the latest used first; 100 at most."
    )
    async def sessions(self, info: Info) -> list[DeviceSessionType]:
        return shown(await devices.own_sessions(info.context.settings))

    @field(Level.SIGNED_IN, description="What the person has beside their password.")
    async def second_factors(self, info: Info) -> SecondFactorsType:
        own = await second_factors.own_factors()
        return shown(
            {
                "confirmed_at": own.confirmed_at,
                "recovery_codes": own.recovery_codes,
                "passkeys": await passkeys.own_passkeys(),
            }
        )

    @field(Permission.SETTINGS_READ, description="What the clinic asks of sessions.")
    async def security_policy(self, info: Info) -> SecurityPolicyType:
        return shown(await security_policy.security_policy())


@strawberry.type
class SecurityMutation(Resolver):
    @field(Level.SIGNED_IN, description="Ends one of the person's sessions, at once.", without_plan=True)
    async def revoke_session(self, info: Info, input: RevokeSessionInput) -> bool:
        if await devices.revoke(input.session_id, info.context.settings):
            info.context.session_token = ""
        return True

    @field(
        Level.SIGNED_IN,
        description="Makes a secret for the person's authenticator app. It counts once `confirmTotp` is given a code.",
        without_plan=True,
    )
    async def begin_totp(self, info: Info, input: PasswordInput) -> TotpSetupType:
        made = await second_factors.begin_totp(input.password, info.context.settings)
        return shown({"uri": made.uri, "qr_svg": made.qr_svg})

    @field(
        Level.SIGNED_IN,
        description="Turns the authenticator app on. Other sessions end; this one is renewed.",
        without_plan=True,
    )
    async def confirm_totp(self, info: Info, input: ConfirmTotpInput) -> SecondFactorOnType:
        codes, result = await second_factors.confirm_totp(input.code, info.context.settings)
        return shown(await _second_factor_on(info, codes, result))

    @field(Level.SIGNED_IN, description="Turns the authenticator app off.", without_plan=True)
    async def disable_totp(self, info: Info, input: DisableTotpInput) -> bool:
        await second_factors.disable_totp(input.password, input.code, info.context.settings)
        return True

    @field(
        Level.SIGNED_IN,
        description="Ten new recovery codes, shown this once; the former ones are void.",
        without_plan=True,
    )
    async def regenerate_recovery_codes(self, info: Info, input: PasswordInput) -> list[str]:
        return await second_factors.regenerate_recovery_codes(input.password)

    @field(
        Level.SIGNED_IN,
        description="What to ask the browser for a new passkey: the JSON text of a "
        "PublicKeyCredentialCreationOptionsJSON (WebAuthn level 3), good for five minutes.",
        without_plan=True,
    )
    async def begin_passkey_registration(self, info: Info, input: PasswordInput) -> str:
        return await passkeys.begin_registration(
            input.password, origin=info.context.origin, settings=info.context.settings
        )

    @field(
        Level.SIGNED_IN, description="Keeps a new passkey. Other sessions end; this one is renewed.", without_plan=True
    )
    async def finish_passkey_registration(
        self, info: Info, input: FinishPasskeyRegistrationInput
    ) -> PasskeyRegisteredType:
        row, codes, result = await passkeys.finish_registration(
            input.name, input.credential, origin=info.context.origin, settings=info.context.settings
        )
        return shown({"passkey": row, "second_factor": await _second_factor_on(info, codes, result)})

    @field(Level.SIGNED_IN, description="Deletes one of the person's passkeys.", without_plan=True)
    async def delete_passkey(self, info: Info, input: DeletePasskeyInput) -> bool:
        await passkeys.delete_passkey(object_id(input.passkey_id, "input.passkeyId"), input.password)
        return True

    @field(
        Level.PUBLIC,
        description="What to ask the browser for signing in by passkey: the JSON text of a "
        "PublicKeyCredentialRequestOptionsJSON (WebAuthn level 3), good for five minutes.",
        without_plan=True,
    )
    async def begin_passkey_sign_in(self, info: Info) -> str:
        return await passkeys.begin_sign_in(origin=info.context.origin, settings=info.context.settings)

    @field(
        Level.PUBLIC,
        description="Signs in by passkey, as `login` does by password. It counts as second factor too.",
        without_plan=True,
    )
    async def finish_passkey_sign_in(self, info: Info, input: FinishPasskeySignInInput) -> SignInType:
        scope, result = await sign_in.login_with_passkey(
            input.credential, info.context.settings, origin=info.context.origin, device=info.context.device
        )
        return shown(signed_in(info, scope, result))

    @field(Permission.SETTINGS_MANAGE, description="Changes what the clinic asks of sessions. It holds at once.")
    async def update_security_policy(self, info: Info, input: UpdateSecurityPolicyInput) -> SecurityPolicyType:
        changes = given(input)
        return shown(await security_policy.change_security_policy(changes.pop("version"), changes))
