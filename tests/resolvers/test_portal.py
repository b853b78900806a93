"""Patients signing in at their clinic, and what ends their sessions."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest
from bson import ObjectId

from app.auth.patient_tokens import PATIENT
from app.services.portal import codes
from app.tenancy.crossing import tenant_scope
from models import AuditEntry, OneTimeCode, Patient, PortalAccount, PortalSession, PortalTicket
from models.values import now
from tests.fixtures._portal import patient_token
from tests.fixtures.clinics import Answer, Client, Clinic, MakeClinic, Server
from tests.fixtures.mailbox import Mailbox, text_of
from tests.fixtures.portal import BORN, Visit, Visitor
from tests.resolvers.patient_calls import UPDATE, share

ME = "{ patientMe { id name email birthDate record { code } access { channel lastSignInAt } } }"
STAFF = "{ viewer { id } patients { totalCount } }"
LOGIN = """mutation($input: PatientLoginInput!) {
    patientLogin(input: $input) { token expiresAt patient { id name record { code } } }
}"""
REQUEST = "mutation($input: RequestPatientCodeInput!) { requestPatientCode(input: $input) }"
ISSUE = "mutation($input: PortalPatientInput!) { issuePatientCode(input: $input) { code expiresAt } }"
ENABLE = "mutation($input: EnablePortalInput!) { enablePortal(input: $input) { enabled channel version } }"
DISABLE = "mutation($input: PortalPatientInput!) { disablePortal(input: $input) { enabled } }"
END = "mutation($input: PortalPatientInput!) { endPatientSessions(input: $input) { enabled } }"
ARCHIVE = "mutation($input: ArchivePatientInput!) { archivePatient(input: $input) { id } }"
RESTORE = "mutation($input: ArchivePatientInput!) { restorePatient(input: $input) { id } }"
SESSIONS = "{ patientSessions { totalCount edges { node { id method device } } } }"
EVERYWHERE = "mutation { signOutPatientEverywhere }"
LOGOUT = "mutation { patientLogout }"


async def signed_in(client: Client) -> bool:
    answer = await client.gql(ME)
    assert answer.codes in ([], ["UNAUTHENTICATED"]), answer.body
    return not answer.errors


async def log_in(visitor: Visitor, code: str, *, client: Client | None = None, who: str | None = None) -> Answer:
    client = client or visitor.server.client(visitor.clinic.host, address=f"2001:db8:1:{visitor.code[-4:]}::1")
    return await client.gql(LOGIN, input={"patientCode": who or visitor.code, "code": code})


async def issued(desk: Client, visitor: Visitor) -> str:
    answer = await desk.gql(ISSUE, input={"patientId": str(visitor.patient_id)})
    code: str = answer.data["issuePatientCode"]["code"]
    return code


def wrong_for(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


async def stored(visitor: Visitor, model: Any) -> list[dict[str, Any]]:
    async with tenant_scope(visitor.clinic.ref):
        rows: list[dict[str, Any]] = await model.rows({"patient_id": visitor.patient_id})
        return rows


# --- by code ----------------------------------------------------------------------------------------------------------


async def test_a_patient_signs_in_with_the_code_that_was_mailed_to_them(
    clinic_a: Clinic, visit: Visit, mailbox: Mailbox, server: Server
) -> None:
    visitor = await visit(clinic_a)
    client = server.client(clinic_a.host, address="2001:db8:77:1::1")

    asked = await client.gql(REQUEST, input={"patientCode": f" {visitor.code.lower()} ", "birthDate": BORN})
    assert asked.data == {"requestPatientCode": True}
    letter = await mailbox.last(visitor.email)
    found = re.search(r"\b(\d{6})\b", text_of(letter))
    assert found is not None
    assert "Vera" not in text_of(letter), "the mail tells nothing of the patient"
    answer = await log_in(visitor, found[1], client=client)

    assert answer.data["patientLogin"]["patient"] == {
        "id": str(visitor.patient_id),
        "name": f"Vera {visitor.email.split('@')[0]}",
        "record": {"code": visitor.code},
    }
    client.token = answer.data["patientLogin"]["token"]
    me = (await client.gql(ME)).data["patientMe"]
    assert me["access"]["lastSignInAt"] is not None
    assert me["birthDate"] == BORN


async def test_a_patient_who_chose_text_messages_gets_the_code_on_the_phone(
    clinic_a: Clinic, visit: Visit, admin: Client, mailbox: Mailbox, server: Server
) -> None:
    number = f"(212) 555-{uuid4().int % 10_000:04}"
    visitor = await visit(clinic_a, phone=number)
    await admin.gql(ENABLE, input={"patientId": str(visitor.patient_id), "channel": "SMS"})
    client = server.client(clinic_a.host, address="2001:db8:77:2::1")

    await client.gql(REQUEST, input={"patientCode": visitor.code, "birthDate": BORN})

    assert not await mailbox.arrived(visitor.email)
    sent = [path.read_text() for path in (mailbox.folder.parent / "sms").iterdir()]
    digits = "".join(char for char in number if char.isdigit())
    [text] = [one for one in sent if f"+1{digits}" in one]
    found = re.search(r"\b(\d{6}) is your sign-in code", text)
    assert found is not None
    assert not (await log_in(visitor, found[1])).errors


@pytest.mark.parametrize(
    ("who", "born"),
    [("P-999999", BORN), ("{code}", "1980-03-01"), ("", BORN), ("x" * 500, BORN), ("{off}", BORN)],
    ids=["unknown", "another birth date", "nothing", "long", "no access"],
)
async def test_asking_for_a_code_tells_nobody_whether_there_is_such_a_patient(
    clinic_a: Clinic, visit: Visit, mailbox: Mailbox, server: Server, who: str, born: str
) -> None:
    known, off = await visit(clinic_a), await visit(clinic_a, enabled=False)
    client = server.client(clinic_a.host, address=f"2001:db8:78:{len(who):x}::1")
    right = await client.gql(REQUEST, input={"patientCode": known.code, "birthDate": BORN})
    before = await stored(known, OneTimeCode)
    typed = who.format(code=known.code, off=off.code)

    wrong = await client.gql(REQUEST, input={"patientCode": typed, "birthDate": born})

    assert (wrong.status, wrong.data) == (right.status, right.data)
    assert await stored(known, OneTimeCode) == before, "the code that was sent stays good"
    assert not await stored(off, OneTimeCode)
    assert len(await mailbox.arrived(known.email)) == 1
    assert not await mailbox.arrived(off.email)


async def test_nothing_is_left_behind_by_requests_for_nobody(clinic_a: Clinic, server: Server) -> None:
    client = server.client(clinic_a.host, address="2001:db8:79:1::1")
    async with tenant_scope(clinic_a.ref):
        before = await OneTimeCode.guarded().count_documents({})
        await client.gql(REQUEST, input={"patientCode": "P-888888", "birthDate": BORN})
        assert await OneTimeCode.guarded().count_documents({}) == before


async def test_too_many_requests_for_one_code_send_no_more_and_are_answered_alike(
    clinic_a: Clinic, visit: Visit, mailbox: Mailbox, server: Server
) -> None:
    visitor = await visit(clinic_a)
    for number in range(codes.REQUESTS_OF_PATIENT.tries + 2):
        client = server.client(clinic_a.host, address=f"2001:db8:80:{number:x}::1")
        answer = await client.gql(REQUEST, input={"patientCode": visitor.code, "birthDate": BORN})
        assert answer.data == {"requestPatientCode": True}
    assert len(await mailbox.arrived(visitor.email)) == codes.REQUESTS_OF_PATIENT.tries


async def test_whoever_knows_a_patients_code_alone_does_not_keep_them_from_asking(
    clinic_a: Clinic, visit: Visit, mailbox: Mailbox, server: Server
) -> None:
    visitor = await visit(clinic_a)
    thief = server.client(clinic_a.host, address="2001:db8:83:1::1")
    for day in range(1, 8):
        await thief.gql(REQUEST, input={"patientCode": visitor.code, "birthDate": f"1970-01-0{day}"})

    client = server.client(clinic_a.host, address="2001:db8:83:2::1")
    await client.gql(REQUEST, input={"patientCode": visitor.code, "birthDate": BORN})

    assert len(await mailbox.arrived(visitor.email)) == 1


async def test_a_patient_is_sent_only_so_many_codes_a_day(
    clinic_a: Clinic, visit: Visit, mailbox: Mailbox, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes, "REQUESTS_OF_PATIENT", replace(codes.REQUESTS_OF_PATIENT, tries=1_000))
    visitor = await visit(clinic_a)
    for number in range(codes.REQUESTS_A_DAY.tries + 3):
        client = server.client(clinic_a.host, address=f"2001:db8:85:{number:x}::1")
        answer = await client.gql(REQUEST, input={"patientCode": visitor.code, "birthDate": BORN})
        assert answer.data == {"requestPatientCode": True}
    assert len(await mailbox.arrived(visitor.email)) == codes.REQUESTS_A_DAY.tries


async def test_another_clinic_that_shares_the_patient_leads_no_code_of_this_one_to_itself(
    make_clinic: MakeClinic, visit: Visit, mailbox: Mailbox, server: Server
) -> None:
    here, there = await make_clinic(), await make_clinic()
    visitor, desk, thief = await visit(here), await server.sign_in(here), await server.sign_in(there)
    await share({"id": str(visitor.patient_id)}, here, there)
    evil = f"thief-{uuid4().hex[:8]}@example.com"
    changed = await thief.gql(UPDATE, input={"id": str(visitor.patient_id), "version": 1, "email": evil})
    assert not changed.errors

    asked = {"patientCode": visitor.code, "birthDate": BORN}
    await server.client(here.host, address="2001:db8:86:1::1").gql(REQUEST, input=asked)

    assert not await mailbox.arrived(evil)
    assert len(await mailbox.arrived(visitor.email)) == 1
    await desk.gql(ENABLE, input={"patientId": str(visitor.patient_id)})
    await server.client(here.host, address="2001:db8:86:2::1").gql(REQUEST, input=asked)
    assert len(await mailbox.arrived(evil)) == 1, "once the clinic itself agrees to it"


async def test_codes_follow_what_this_clinic_changes(
    clinic_a: Clinic, visit: Visit, admin: Client, mailbox: Mailbox, server: Server
) -> None:
    visitor = await visit(clinic_a)
    mine = f"mine-{uuid4().hex[:8]}@example.com"
    await admin.gql(UPDATE, input={"id": str(visitor.patient_id), "version": 1, "email": mine})

    asked = {"patientCode": visitor.code, "birthDate": BORN}
    await server.client(clinic_a.host, address="2001:db8:87:1::1").gql(REQUEST, input=asked)

    assert len(await mailbox.arrived(mine)) == 1
    assert not await mailbox.arrived(visitor.email)


async def test_one_network_can_ask_only_so_often(make_clinic: MakeClinic, server: Server) -> None:
    clinic = await make_clinic()
    client = server.client(clinic.host, address="2001:db8:81:1::1")
    for number in range(codes.REQUESTS_BY_NETWORK.tries):
        await client.gql(REQUEST, input={"patientCode": f"P-{number}", "birthDate": BORN})

    answer = await client.gql(REQUEST, input={"patientCode": "P-1", "birthDate": BORN})

    assert answer.codes == ["RATE_LIMITED"]


async def test_a_code_from_the_desk_signs_in_once(clinic_a: Clinic, visit: Visit, admin: Client) -> None:
    visitor = await visit(clinic_a)
    code = await issued(admin, visitor)

    first = await log_in(visitor, code)
    second = await log_in(visitor, code)

    assert first.data["patientLogin"]["token"]
    assert second.codes == ["UNAUTHENTICATED"]
    [session] = [one for one in await stored(visitor, PortalSession) if one["method"] != "qr"]
    assert session["method"] == "desk_code"


async def test_of_many_who_use_one_code_at_once_one_gets_in(clinic_a: Clinic, visit: Visit, admin: Client) -> None:
    visitor = await visit(clinic_a)
    code = await issued(admin, visitor)

    answers = await asyncio.gather(*(log_in(visitor, code) for _ in range(5)))

    assert sorted(bool(answer.errors) for answer in answers) == [False, True, True, True, True]
    assert len(await stored(visitor, PortalSession)) == 2, "the one of the test, and one more"


async def test_only_the_newest_code_counts(clinic_a: Clinic, visit: Visit, admin: Client) -> None:
    visitor = await visit(clinic_a)
    old, new = await issued(admin, visitor), await issued(admin, visitor)
    if old != new:
        assert (await log_in(visitor, old)).codes == ["UNAUTHENTICATED"]
    assert not (await log_in(visitor, new)).errors


async def test_after_five_wrong_tries_even_the_right_code_is_refused(
    clinic_a: Clinic, visit: Visit, admin: Client
) -> None:
    visitor = await visit(clinic_a)
    code = await issued(admin, visitor)
    wrong = [await log_in(visitor, wrong_for(code)) for _ in range(codes.TRIES)]

    answer = await log_in(visitor, code)

    assert {one.codes[0] for one in [*wrong, answer]} == {"UNAUTHENTICATED"}
    assert len({one.errors[0]["message"] for one in [*wrong, answer]}) == 1
    [account] = await stored(visitor, PortalAccount)
    assert account["failed_tries"] == codes.TRIES + 1
    assert len(await stored(visitor, PortalSession)) == 1


async def test_a_code_that_is_too_old_is_refused(clinic_a: Clinic, visit: Visit, admin: Client) -> None:
    visitor = await visit(clinic_a)
    code = await issued(admin, visitor)
    async with tenant_scope(clinic_a.ref):
        await OneTimeCode.guarded().update_one(
            {"patient_id": visitor.patient_id}, {"$set": {"expires_at": now() - timedelta(seconds=1)}}
        )
    assert (await log_in(visitor, code)).codes == ["UNAUTHENTICATED"]


async def test_what_is_stored_of_a_code_does_not_tell_it(clinic_a: Clinic, visit: Visit, admin: Client) -> None:
    visitor, other = await visit(clinic_a), await visit(clinic_a)
    code = await issued(admin, visitor)
    await issued(admin, other)
    [row], [theirs] = await stored(visitor, OneTimeCode), await stored(other, OneTimeCode)
    assert code not in str(row)
    assert row["salt"] != theirs["salt"]
    async with tenant_scope(clinic_a.ref):  # copied onto another patient it opens nothing
        await OneTimeCode.guarded().update_one(
            {"patient_id": other.patient_id}, {"$set": {"salt": row["salt"], "mac": row["mac"]}}
        )
    assert (await log_in(other, code)).codes == ["UNAUTHENTICATED"]


async def test_guessing_from_one_place_is_stopped_and_elsewhere_the_patient_still_gets_in(
    clinic_a: Clinic, visit: Visit, admin: Client, server: Server
) -> None:
    visitor = await visit(clinic_a)
    thief = server.client(clinic_a.host, address="2001:db8:82:1::1")
    answers = [await log_in(visitor, "000000", client=thief) for _ in range(11)]
    assert answers[-1].codes == ["RATE_LIMITED"]

    code = await issued(admin, visitor)

    assert not (await log_in(visitor, code)).errors


async def test_guesses_at_many_patients_from_many_networks_are_bounded_together_and_unseen(
    make_clinic: MakeClinic, visit: Visit, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes, "GUESSES_AT_CLINIC", replace(codes.GUESSES_AT_CLINIC, tries=4))
    clinic = await make_clinic()
    desk, visitors = await server.sign_in(clinic), [await visit(clinic) for _ in range(3)]
    made = [await issued(desk, visitor) for visitor in visitors]
    assert not (await log_in(visitors[2], made[2])).errors, "what was right does not count"
    made[2] = await issued(desk, visitors[2])
    for visitor, code in zip(visitors[:2] * 2, made[:2] * 2, strict=True):
        assert (await log_in(visitor, wrong_for(code))).codes == ["UNAUTHENTICATED"]

    right = await log_in(visitors[2], made[2])
    nobody = await log_in(visitors[2], made[2], who="P-999997")

    assert right.codes == nobody.codes == ["UNAUTHENTICATED"]


async def test_guessing_where_there_is_no_code_keeps_the_patient_out_of_nothing(
    make_clinic: MakeClinic, visit: Visit, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes, "GUESSES_OF_PATIENT", replace(codes.GUESSES_OF_PATIENT, tries=6))
    monkeypatch.setattr(codes, "GUESSES_AT_CLINIC", replace(codes.GUESSES_AT_CLINIC, tries=6))
    clinic = await make_clinic()
    desk, visitor = await server.sign_in(clinic), await visit(clinic)
    for number in range(8):
        thief = server.client(clinic.host, address=f"2001:db8:88:{number:x}::1")
        assert (await log_in(visitor, "000000", client=thief)).codes == ["UNAUTHENTICATED"]

    assert not (await log_in(visitor, await issued(desk, visitor))).errors


async def test_a_patients_code_is_guessed_at_only_so_often_a_day_even_as_it_is_made_anew(
    make_clinic: MakeClinic, visit: Visit, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes, "GUESSES_OF_PATIENT", replace(codes.GUESSES_OF_PATIENT, tries=3))
    clinic = await make_clinic()
    desk, visitor = await server.sign_in(clinic), await visit(clinic)
    for _ in range(3):
        await log_in(visitor, wrong_for(await issued(desk, visitor)))

    assert (await log_in(visitor, await issued(desk, visitor))).codes == ["UNAUTHENTICATED"]


async def test_an_unknown_patient_and_a_wrong_code_are_answered_alike(
    clinic_a: Clinic, visit: Visit, admin: Client
) -> None:
    visitor = await visit(clinic_a)
    code = await issued(admin, visitor)
    wrong = await log_in(visitor, wrong_for(code))
    unknown = await log_in(visitor, code, who="P-999998")
    told = [{**answer.errors[0]["extensions"], "requestId": ""} for answer in (wrong, unknown)]
    assert told[0] == told[1]
    assert wrong.errors[0]["message"] == unknown.errors[0]["message"]
    assert wrong.status == unknown.status == 401


async def test_a_code_of_one_clinic_opens_nothing_at_another(
    clinic_a: Clinic, clinic_b: Clinic, visit: Visit, admin: Client, server: Server
) -> None:
    visitor = await visit(clinic_a)
    code = await issued(admin, visitor)
    abroad = server.client(clinic_b.host, address="2001:db8:83:1::1")
    assert (await log_in(visitor, code, client=abroad)).codes == ["UNAUTHENTICATED"]
    assert not (await log_in(visitor, code)).errors, "and it is still good where it was made"


async def test_the_root_host_signs_no_patient_in(server: Server) -> None:
    client = server.client(address="2001:db8:84:1::1")
    answer = await client.gql(LOGIN, input={"patientCode": "P-1", "code": "123456"})
    assert answer.codes == ["TENANT_NOT_FOUND"]


# --- the desk ---------------------------------------------------------------------------------------------------------


async def test_the_portal_is_switched_on_and_off_at_the_desk(clinic_a: Clinic, visit: Visit, admin: Client) -> None:
    visitor = await visit(clinic_a, enabled=False)
    mine = {"patientId": str(visitor.patient_id)}
    assert not await signed_in(visitor.client), "a session alone is not enough"
    assert (await admin.gql(ISSUE, input=mine)).codes == ["INVALID_STATE"]

    on = await admin.gql(ENABLE, input={**mine, "channel": "SMS"})
    assert on.data["enablePortal"] == {"enabled": True, "channel": "SMS", "version": 1}
    assert await signed_in(visitor.client)
    again = await admin.gql(ENABLE, input=mine)
    assert again.data["enablePortal"] == {"enabled": True, "channel": "SMS", "version": 2}
    code = await issued(admin, visitor)

    assert (await admin.gql(DISABLE, input=mine)).data["disablePortal"] == {"enabled": False}
    assert not await signed_in(visitor.client)
    assert (await log_in(visitor, code)).codes == ["UNAUTHENTICATED"]
    await admin.gql(ENABLE, input=mine)
    assert not await signed_in(visitor.client), "an ended session stays ended"
    assert not await stored(visitor, OneTimeCode)


async def test_switching_on_twice_at_once_makes_one_account(clinic_a: Clinic, visit: Visit, admin: Client) -> None:
    visitor = await visit(clinic_a, enabled=False)
    answers = await asyncio.gather(*(admin.gql(ENABLE, input={"patientId": str(visitor.patient_id)}) for _ in range(5)))
    assert not [answer.body for answer in answers if answer.errors]
    assert len(await stored(visitor, PortalAccount)) == 1


async def test_an_archived_patient_is_signed_out_at_once_and_for_good(
    clinic_a: Clinic, visit: Visit, admin: Client
) -> None:
    visitor = await visit(clinic_a)
    mine = {"id": str(visitor.patient_id)}
    code = await issued(admin, visitor)
    assert await signed_in(visitor.client)

    await admin.gql(ARCHIVE, input=mine)

    assert not await signed_in(visitor.client)
    assert (await log_in(visitor, code)).codes == ["UNAUTHENTICATED"]
    refused = await admin.gql(ENABLE, input={"patientId": str(visitor.patient_id)})
    assert refused.codes == ["INVALID_STATE"]
    await admin.gql(RESTORE, input=mine)
    assert not await signed_in(visitor.client)


async def test_a_patient_who_leaves_the_clinic_is_signed_out_there_and_stays_elsewhere(
    clinic_a: Clinic, clinic_b: Clinic, visit: Visit, server: Server
) -> None:
    visitor = await visit(clinic_a)
    async with tenant_scope(clinic_a.ref):
        await Patient.guarded().grant(visitor.patient_id, clinic_b.ref.id)
        await Patient.guarded().leave(visitor.patient_id)
    assert not await signed_in(visitor.client)


async def test_an_erased_patient_is_signed_out_at_once(clinic_a: Clinic, visit: Visit, admin: Client) -> None:
    visitor = await visit(clinic_a)
    asked = {"patientId": str(visitor.patient_id), "code": visitor.code, "basis": "NO_LONGER_NEEDED"}
    answer = await admin.gql(
        "mutation($input: ErasePatientInput!) { erasePatient(input: $input) { __typename } }", input=asked
    )
    assert not answer.errors, answer.body
    assert not await signed_in(visitor.client)
    assert not await stored(visitor, PortalSession)


# --- sessions ---------------------------------------------------------------------------------------------------------


async def test_a_session_that_rests_too_long_ends(clinic_a: Clinic, visit: Visit, server: Server) -> None:
    visitor = await visit(clinic_a)
    idle = timedelta(minutes=server.settings.patient_idle_minutes)
    await _seen(visitor, now() - idle + timedelta(minutes=2))
    assert await signed_in(visitor.client), "and being used, it goes on"
    [row] = await stored(visitor, PortalSession)
    assert row["last_seen_at"] > now() - timedelta(minutes=1)
    await _seen(visitor, now() - idle - timedelta(seconds=1))
    assert not await signed_in(visitor.client)


async def _seen(visitor: Visitor, moment: Any) -> None:
    async with tenant_scope(visitor.clinic.ref):
        await PortalSession.guarded().update_many(
            {"patient_id": visitor.patient_id}, {"$set": {"last_seen_at": moment}}
        )


async def test_a_session_ends_however_much_it_is_used(clinic_a: Clinic, visit: Visit) -> None:
    visitor = await visit(clinic_a)
    async with tenant_scope(clinic_a.ref):
        await PortalSession.guarded().update_many(
            {"patient_id": visitor.patient_id}, {"$set": {"expires_at": now() - timedelta(seconds=1)}}
        )
    assert not await signed_in(visitor.client)


async def test_signing_out_ends_this_session_alone(clinic_a: Clinic, visit: Visit, server: Server) -> None:
    visitor = await visit(clinic_a)
    other = server.client(clinic_a.host, await patient_token(server, clinic_a, visitor.patient_id))
    assert (await visitor.asks(SESSIONS))["patientSessions"]["totalCount"] == 2

    answer = await visitor.client.gql("mutation { out: patientLogout  again: patientLogout }")

    assert answer.data == {"out": True, "again": True}
    assert not await signed_in(visitor.client)
    assert (await other.gql(SESSIONS)).data["patientSessions"]["totalCount"] == 1


async def test_signing_out_everywhere_ends_the_patients_sessions_and_nobody_elses(
    clinic_a: Clinic, visit: Visit, server: Server
) -> None:
    visitor, neighbour = await visit(clinic_a), await visit(clinic_a)
    other = server.client(clinic_a.host, await patient_token(server, clinic_a, visitor.patient_id))

    answer = await visitor.client.gql("mutation { signOutPatientEverywhere patientCreateQr { link } }")

    assert answer.body["data"]["signOutPatientEverywhere"] is True
    assert answer.codes == ["UNAUTHENTICATED"], "what follows in the same request runs without them"
    assert not await stored(visitor, PortalTicket)
    assert not await signed_in(visitor.client)
    assert not await signed_in(other)
    assert await signed_in(neighbour.client)


async def test_the_clinic_signs_a_patient_out(clinic_a: Clinic, visit: Visit, admin: Client) -> None:
    visitor, neighbour = await visit(clinic_a), await visit(clinic_a)
    await admin.gql(END, input={"patientId": str(visitor.patient_id)})
    assert not await signed_in(visitor.client)
    assert await signed_in(neighbour.client)


async def test_a_session_counts_at_its_own_clinic_alone(
    clinic_a: Clinic, clinic_b: Clinic, visit: Visit, server: Server
) -> None:
    visitor = await visit(clinic_a)
    async with tenant_scope(clinic_a.ref):
        await Patient.guarded().grant(visitor.patient_id, clinic_b.ref.id)
    assert not await signed_in(server.client(clinic_b.host, visitor.token))
    assert not await signed_in(server.client(token=visitor.token))
    assert await signed_in(visitor.client)


async def test_a_patients_token_never_makes_a_member_of_staff(clinic_a: Clinic, visit: Visit) -> None:
    visitor = await visit(clinic_a)
    answer = await visitor.client.gql(STAFF)
    assert answer.body["data"] == {"viewer": None, "patients": None}
    assert answer.codes == ["UNAUTHENTICATED"]


async def test_a_token_of_staff_never_makes_a_patient(admin: Client) -> None:
    assert (await admin.gql(ME)).codes == ["UNAUTHENTICATED"]


async def test_a_forged_token_is_no_token(clinic_a: Clinic, visit: Visit, server: Server) -> None:
    visitor = await visit(clinic_a)
    claims = jwt.decode(visitor.token, options={"verify_signature": False})
    assert claims["aud"] == PATIENT.audience
    forged = jwt.encode(
        claims, server.settings.session_secret.get_secret_value(), algorithm="HS256",
        headers={"kid": jwt.get_unverified_header(visitor.token)["kid"]},
    )  # fmt: skip
    assert not await signed_in(server.client(clinic_a.host, forged))
    kid = jwt.get_unverified_header(visitor.token)["kid"]
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": kid})
    assert not await signed_in(server.client(clinic_a.host, unsigned))


# --- the audit --------------------------------------------------------------------------------------------------------


async def test_signing_in_and_refusals_stand_in_the_audit(clinic_a: Clinic, visit: Visit, admin: Client) -> None:
    visitor = await visit(clinic_a)
    code = await issued(admin, visitor)
    await log_in(visitor, wrong_for(code))
    await log_in(visitor, code)
    async with tenant_scope(clinic_a.ref):
        rows = await AuditEntry.rows({"patient_ids": visitor.patient_id})
    acts = {row["action"]: row for row in rows}
    assert acts["portal.issue_code"]["user_id"] is not None
    assert acts["portal.refuse"]["by_patient"] is None
    assert acts["portal.sign_in"]["by_patient"] == visitor.patient_id
    assert acts["portal.sign_in"]["user_id"] is None


async def test_an_id_that_is_none_is_not_found_at_the_desk(admin: Client) -> None:
    for mutation in (ENABLE, DISABLE, ISSUE, END):
        answer = await admin.gql(mutation, input={"patientId": str(ObjectId())})
        assert answer.codes == ["NOT_FOUND"]
        assert answer.paths == ["input.patientId"]
