"""The portal at the desk: who may use it, and what lets a patient in. And the ways in for the patient."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

import strawberry

from app.auth.patient_sessions import PatientSignedIn
from app.graphql.access import Level, field
from app.graphql.context import Info
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import object_id
from app.graphql.selection import columns, projection
from app.permissions import Permission
from app.services.merging import redirects
from app.services.portal import accounts, codes, sign_in, tickets
from app.tenancy.scope import current_scope
from models import PortalAccount
from models.portal import PortalChannel
from resolvers.base import Resolver, shown
from resolvers.patients import PatientType
from resolvers.portal_types import PortalPatientType


@row_type(
    "PortalAccount",
    model=PortalAccount,
    read=Permission.PATIENT_READ,
    description="Whether a patient may use the portal, and how their sign-ins go.",
)
class PortalAccountType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change.")
    patient: PatientType | None = related(lambda: PatientType, key="patient_id", description="The patient.")
    enabled: bool = stored(description="Whether they may sign in.")
    channel: PortalChannel = stored(description="How one-time codes reach them.")
    email: str | None = stored(description="Where codes are mailed to. What another clinic changes does not move it.")
    phone: str | None = stored(description="Where codes are sent to as text messages; likewise.")
    last_sign_in_at: datetime | None = stored(description="When they last signed in.")
    failed_tries: int = stored(description="Wrong codes since then.")


@row_type("PatientCode", description="A one-time code, shown this once.")
class PatientCodeType:
    code: str = stored(description="Six digits.")
    expires_at: datetime = stored(description="Until when it holds.")


@row_type("PatientQr", description="A QR code that signs the patient in once, at this clinic.")
class PatientQrType:
    link: str = stored(description="What the QR code holds: its secret stands behind the `#`.")
    svg: str = stored(description="The QR code as SVG, in a data URI.")
    png: str = stored(description="The QR code as PNG, in a data URI.")
    expires_at: datetime = stored(description="Until when it holds.")


@row_type("PatientSignIn", description="A patient's session that has been opened.")
class PatientSignInType:
    patient: PortalPatientType | None = related(
        lambda: PortalPatientType, key="patient_id", description="Who is signed in."
    )
    expires_at: datetime = stored(description="When the session ends at the latest.")
    token: str | None = stored(
        description="The session token, for API clients that sent `X-Polyclinic-Client`; null for browsers."
    )


@strawberry.input(description="Whom to let into the portal.")
class EnablePortalInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    channel: PortalChannel | None = strawberry.field(
        default=None, description="How one-time codes reach them; without it, as it was, or else what they have."
    )


@strawberry.input(description="A patient of the clinic.")
class PortalPatientInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")


@strawberry.input(description="Who asks for a one-time code.")
class RequestPatientCodeInput:
    patient_code: str = strawberry.field(description="The clinic's code of the patient.")
    birth_date: date = strawberry.field(description="Their day of birth.")


@strawberry.input(description="A patient's code, and the newest one-time code.")
class PatientLoginInput:
    patient_code: str = strawberry.field(description="The clinic's code of the patient.")
    code: str = strawberry.field(description="The one-time code: six digits.")


def qr_row(made: tickets.QrSignIn) -> dict[str, Any]:
    """A ticket as a row."""
    return {"link": made.link, "svg": made.svg, "png": made.png, "expires_at": made.expires_at}


def _signed_in(info: Info, opened: PatientSignedIn) -> dict[str, Any]:
    info.context.patient_token = opened.token
    return {
        "patient_id": opened.session.patient_id,
        "expires_at": opened.session.expires_at,
        "token": opened.token if info.context.api_client else None,
    }


@strawberry.type
class PortalQuery(Resolver):
    @field(Permission.PATIENT_READ, description="A patient's access to the portal; null for one who never had any.")
    async def portal_account(
        self,
        info: Info,
        patient_id: Annotated[strawberry.ID, strawberry.argument(description="The patient.")],
    ) -> PortalAccountType | None:
        wanted = projection(columns(info, PortalAccountType))
        mine = {"patient_id": object_id(patient_id, "patientId")}
        rows = await PortalAccount.rows(mine, projection=wanted, limit=1)
        if not rows and (moved := await redirects.of_survivor(mine)):
            rows = await PortalAccount.rows(moved, projection=wanted, limit=1)
        return shown(rows[0] if rows else None)


@strawberry.type
class PortalMutation(Resolver):
    @field(
        Permission.PATIENT_UPDATE,
        description="Lets a patient into the portal, or changes how codes reach them: by their present contact data.",
    )
    async def enable_portal(self, input: EnablePortalInput) -> PortalAccountType:
        return shown(await accounts.enable(object_id(input.patient_id, "input.patientId"), input.channel))

    @field(
        Permission.PATIENT_UPDATE,
        description="Shuts a patient out of the portal; their sessions end at once.",
        without_plan=True,
    )
    async def disable_portal(self, input: PortalPatientInput) -> PortalAccountType:
        return shown(await accounts.disable(object_id(input.patient_id, "input.patientId")))

    @field(Permission.PATIENT_UPDATE, description="Signs a patient out on every device, at once.", without_plan=True)
    async def end_patient_sessions(self, input: PortalPatientInput) -> PortalAccountType:
        return shown(await accounts.sign_out(object_id(input.patient_id, "input.patientId")))

    @field(
        Permission.PATIENT_UPDATE,
        description="Makes a one-time code for a patient who stands at the desk. It is shown this once.",
    )
    async def issue_patient_code(self, info: Info, input: PortalPatientInput) -> PatientCodeType:
        made = await codes.issue(object_id(input.patient_id, "input.patientId"), info.context.settings)
        return shown({"code": made.code, "expires_at": made.expires_at})

    @field(
        Permission.PATIENT_UPDATE,
        description="Makes a QR code that signs the patient in once, within five minutes. An earlier one is void.",
    )
    async def create_patient_qr(self, info: Info, input: PortalPatientInput) -> PatientQrType:
        patient_id = object_id(input.patient_id, "input.patientId")
        return shown(qr_row(await tickets.create(patient_id, info.context.settings)))

    @field(
        Level.PUBLIC,
        description="Sends the patient a one-time code by e-mail or text message. Everybody is answered alike.",
        without_plan=True,
    )
    async def request_patient_code(self, info: Info, input: RequestPatientCodeInput) -> bool:
        await codes.request(input.patient_code, input.birth_date, info.context.settings, sign_in.clinic_here())
        return True

    @field(Level.PUBLIC, description="Signs a patient in at this clinic.", without_plan=True)
    async def patient_login(self, info: Info, input: PatientLoginInput) -> PatientSignInType:
        opened = await sign_in.login(input.patient_code, input.code, info.context.settings, device=info.context.device)
        return shown(_signed_in(info, opened))

    @field(Level.PUBLIC, description="Signs the patient out of this session.", without_plan=True)
    async def patient_logout(self, info: Info) -> bool:
        await sign_in.logout()
        info.context.patient_token = ""
        return True

    @field(Level.PATIENT, description="Signs the patient out on every device.", without_plan=True)
    async def sign_out_patient_everywhere(self, info: Info) -> bool:
        await sign_in.sign_out_everywhere()
        info.context.patient_token = ""
        return True

    @field(
        Level.PATIENT,
        description="Makes a QR code that signs the patient in on another device, once, within five minutes.",
    )
    async def patient_create_qr(self, info: Info) -> PatientQrType:
        patient_id = current_scope().signed_in_patient.patient_id
        return shown(qr_row(await tickets.create(patient_id, info.context.settings)))
