"""Patients: registering, changing, archiving."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.tenancy.crossing import tenant_scope
from models import Counter
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.commands import Commands
from tests.fixtures.people import SignedIn
from tests.resolvers.patient_calls import (
    ARCHIVE,
    CREATE,
    NO_ADDRESS,
    NOTES,
    NOWHERE,
    ONE,
    RESTORE,
    UPDATE,
    family,
    found,
    register,
)


class TestRegistering:
    async def test_a_patient_keeps_all_that_was_given(self, make_clinic: MakeClinic, server: Server) -> None:
        admin = await server.sign_in(await make_clinic())
        values = {
            "givenName": "María José",
            "familyName": "García-Ñúñez",
            "birthDate": "1984-02-29",
            "sex": "FEMALE",
            "phone": "+1 (212) 555-0100",
            "email": "Maria@Example.com",
            "address": {"street": "1 Main St", "city": "Springfield", "zipCode": "12345"},
            "contacts": [{"name": "Juan", "phone": "+1 212 555 0101", "relationship": "brother"}],
            "allergies": [{"substance": "penicillin", "severe": True}],
            "nationalId": "AB 12.345-X",
            "insurer": "Aetna",
            "insuranceNumber": "7712345",
            "notes": "Prefers mornings.\nSecond line",
        }

        made = (await admin.gql(CREATE, input=values)).data["createPatient"]

        id = made.pop("id")
        assert made == {
            "version": 1,
            "name": "María José García-Ñúñez",
            "givenName": "María José",
            "familyName": "García-Ñúñez",
            "birthDate": "1984-02-29",
            "sex": "FEMALE",
            "phone": "+1 (212) 555-0100",
            "email": "maria@example.com",
            "address": {**NO_ADDRESS, "street": "1 Main St", "city": "Springfield", "zipCode": "12345"},
            "contacts": [{"name": "Juan", "phone": "+1 212 555 0101", "relationship": "brother"}],
            "allergies": [{"substance": "penicillin", "reaction": None, "severe": True}],
            "record": {
                "code": "P-000001",
                "version": 1,
                "nationalId": "AB 12.345-X",
                "insurer": "Aetna",
                "insuranceNumber": "7712345",
                "status": "ACTIVE",
                "notes": "Prefers mornings.\nSecond line",
                "archivedAt": None,
            },
        }
        assert (await admin.gql(ONE, id=id)).data["patient"] == {**made, "id": id}

    async def test_two_names_are_enough(self, admin: Client) -> None:
        made = await register(admin)

        assert (made["sex"], made["birthDate"], made["address"]) == ("UNKNOWN", None, NO_ADDRESS)
        assert (made["contacts"], made["allergies"]) == ([], [])

    async def test_codes_run_on_without_gaps_or_doubles_even_at_once(
        self, make_clinic: MakeClinic, server: Server
    ) -> None:
        admin = await server.sign_in(await make_clinic())
        await admin.gql('mutation { updateSettings(input: {version: 1, patientCodePrefix: "mrn"}) { version } }')

        made = await asyncio.gather(*(register(admin) for _ in range(12)))

        assert sorted(one["record"]["code"] for one in made) == [f"MRN-{n:06d}" for n in range(1, 13)]

    @pytest.mark.parametrize(
        ("wrong", "path"),
        [
            ({"givenName": ""}, "input.givenName"),
            ({"givenName": "  "}, "input.givenName"),
            ({"givenName": None}, "input.givenName"),
            ({"familyName": "x" * 201}, "input.familyName"),
            ({"familyName": "a\u202eb"}, "input.familyName"),
            ({"familyName": "a\u061cb"}, "input.familyName"),
            ({"familyName": "a\u2028b"}, "input.familyName"),
            ({"familyName": "a\x00b"}, "input.familyName"),
            ({"familyName": "a\nb"}, "input.familyName"),
            ({"birthDate": "1879-12-31"}, "input.birthDate"),
            ({"birthDate": "2999-01-01"}, "input.birthDate"),
            ({"birthDate": "2023-02-30"}, "input.birthDate"),
            ({"birthDate": 5}, "input.birthDate"),
            ({"sex": "female"}, "input.sex"),
            ({"phone": "call me"}, "input.phone"),
            ({"email": "a@b@c"}, "input.email"),
            ({"email": {"$gt": ""}}, "input.email"),
            ({"notes": "x" * 5001}, "input.notes"),
            ({"notes": "a\u0007b"}, "input.notes"),
            ({"address": {"street": "\u202e"}}, "input.address.street"),
            ({"address": {"zipCode": "12\n34"}}, "input.address.zipCode"),
            ({"address": {"planet": "Mars"}}, "input.address.planet"),
            (
                {"contacts": [{"name": "A", "phone": "+12125550100"}, {"name": "B", "phone": "x"}]},
                "input.contacts.1.phone",
            ),
            ({"contacts": [{"name": "A", "phone": "+12125550100"}] * 11}, "input.contacts"),
            ({"allergies": [{"substance": " "}]}, "input.allergies.0.substance"),
            ({"allergies": [{"substance": 5}]}, "input.allergies.0.substance"),
            ({"tenantIds": [NOWHERE]}, "input.tenantIds"),
        ],
    )
    async def test_wrong_input_is_told_by_path_and_writes_nothing(
        self, admin: Client, commands: Commands, wrong: dict[str, Any], path: str
    ) -> None:
        answer = await admin.gql(CREATE, input={"givenName": "Ana", "familyName": "Wrong", **wrong})

        assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
        assert commands.writes() == []

    async def test_all_that_is_wrong_is_told_at_once(self, admin: Client) -> None:
        answer = await admin.gql(CREATE, input={"givenName": "", "familyName": "\x01", "phone": "x", "email": "y"})

        assert set(answer.paths) == {"input.givenName", "input.familyName", "input.phone", "input.email"}

    async def test_a_lone_surrogate_is_refused_before_it_is_read(self, admin: Client) -> None:
        body = (
            b'{"query": "mutation($n: String!) { createPatient(input: {givenName: $n, familyName: \\"x\\"}) { id } }"'
        )
        response = await admin.http.post(
            "/graphql",
            content=body + b', "variables": {"n": "a\\ud800"}}',
            headers={
                "content-type": "application/json",
                "x-polyclinic-client": "tests",
                "authorization": f"Bearer {admin.token}",
            },
        )
        literal = await admin.gql('mutation { createPatient(input: {givenName: "\\uD800", familyName: "x"}) { id } }')

        assert response.status_code == 400
        assert response.json()["errors"][0]["extensions"]["code"] == "VALIDATION_FAILED"
        assert (literal.status, literal.codes) == (400, ["VALIDATION_FAILED"])

    async def test_a_number_of_work_that_failed_is_not_written_for_wrong_input(
        self, make_clinic: MakeClinic, server: Server
    ) -> None:
        clinic = await make_clinic()
        admin = await server.sign_in(clinic)
        await admin.gql(CREATE, input={"givenName": "Ana", "familyName": "B", "notes": "\x00"})

        async with tenant_scope(clinic.ref):
            assert await Counter.find({}).count() == 0


class TestChanging:
    async def test_absent_values_stay_and_null_clears(self, admin: Client) -> None:
        made = await register(admin, phone="+1 212 555 0100", email="e@example.com", birthDate="1990-01-01")

        changed = await admin.gql(UPDATE, input={"id": made["id"], "version": 1, "phone": None, "birthDate": None})

        assert changed.data["updatePatient"] == {**made, "version": 2, "phone": None, "birthDate": None}

    async def test_every_field_can_be_changed(self, admin: Client) -> None:
        made = await register(admin, address={"street": "Old", "city": "Town"}, allergies=[{"substance": "nuts"}])
        changes: dict[str, Any] = {
            "givenName": "Eva",
            "familyName": family(),
            "birthDate": "2001-12-31",
            "sex": "OTHER",
            "phone": "+1 212 555 0102",
            "email": "new@example.com",
            "address": {"city": "Elsewhere"},
            "contacts": [{"name": "C", "phone": "+12125550100", "relationship": None}],
            "allergies": [],
        }

        changed = (await admin.gql(UPDATE, input={"id": made["id"], "version": 1, **changes})).data["updatePatient"]

        expected = {**changes, "address": {**NO_ADDRESS, "city": "Elsewhere"}}  # it replaces the former one whole
        assert {name: changed[name] for name in expected} == expected

    async def test_search_follows_a_change(self, admin: Client) -> None:
        old, new = family(), family()
        made = await register(admin, familyName=old, phone="+1 212 555 7001")

        await admin.gql(UPDATE, input={"id": made["id"], "version": 1, "familyName": new, "phone": "+12125557999"})

        assert await found(admin, old) == []
        assert await found(admin, new) == await found(admin, f"Ana {new}") == [made["id"]]
        assert made["id"] in await found(admin, "12125557999")
        assert made["id"] not in await found(admin, "12125557001")

    @pytest.mark.parametrize("version", [0, 1, 3, -1])
    async def test_another_version_conflicts(self, admin: Client, version: int) -> None:
        made = await register(admin)
        await admin.gql(UPDATE, input={"id": made["id"], "version": 1, "sex": "OTHER"})

        for change in ({"givenName": "Late"}, {"sex": "MALE"}):
            answer = await admin.gql(UPDATE, input={"id": made["id"], "version": version, **change})
            assert (answer.codes, answer.paths) == (["CONFLICT"], ["input.version"])
        after = (await admin.gql(ONE, id=made["id"])).data["patient"]
        assert after == {**made, "version": 2, "sex": "OTHER"}

    async def test_names_changed_by_two_at_once_agree_with_their_search_keys(self, admin: Client) -> None:
        made = await register(admin)
        names = [family() for _ in range(4)]

        answers = await asyncio.gather(
            *(admin.gql(UPDATE, input={"id": made["id"], "version": 1, "familyName": name}) for name in names)
        )

        assert sorted(len(answer.errors) for answer in answers) == [0, 1, 1, 1]
        kept = (await admin.gql(ONE, id=made["id"])).data["patient"]["familyName"]
        for name in names:
            assert await found(admin, name) == ([made["id"]] if name == kept else [])

    @pytest.mark.parametrize(
        ("wrong", "path"),
        [
            ({"givenName": None}, "input.givenName"),
            ({"givenName": " "}, "input.givenName"),
            ({"sex": None}, "input.sex"),
            ({"address": None}, "input.address"),
            ({"contacts": None}, "input.contacts"),
            ({"contacts": [None]}, "input.contacts.0"),
            ({"contacts": [{"name": "\u2067", "phone": "+12125550100"}]}, "input.contacts.0.name"),
            ({"email": "x"}, "input.email"),
            ({"birthDate": "1700-01-01"}, "input.birthDate"),
            ({"version": None}, "input.version"),
        ],
    )
    async def test_wrong_changes_are_told_by_path_and_change_nothing(
        self, admin: Client, commands: Commands, wrong: dict[str, Any], path: str
    ) -> None:
        answer = await admin.gql(UPDATE, input={"id": NOWHERE, "version": 1, **wrong})

        assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
        assert commands.writes() == []

    async def test_notes_are_replaced_cleared_and_never_cleared_by_silence(self, admin: Client) -> None:
        made = await register(admin, notes="first")

        async def write(version: int, **values: Any) -> Any:
            return await admin.gql(NOTES, input={"id": made["id"], "version": version, **values})

        assert (await write(1, notes="second")).data["updatePatientNotes"]["record"]["notes"] == "second"
        assert (await write(2)).paths == ["input.notes"]
        assert (await write(2, notes="\x00")).paths == ["input.notes"]
        stale = await write(1, notes="of somebody who saw the first")
        assert (stale.codes, stale.paths) == (["CONFLICT"], ["input.version"])
        assert (await admin.gql(ONE, id=made["id"])).data["patient"]["record"]["notes"] == "second"
        assert (await write(2, notes=None)).data["updatePatientNotes"]["record"]["notes"] is None

    async def test_archived_patients_leave_the_list_and_come_back(self, admin: Client) -> None:
        made = await register(admin)
        name = made["familyName"]

        archived = (await admin.gql(ARCHIVE, input={"id": made["id"]})).data["archivePatient"]["record"]
        assert archived["status"] == "ARCHIVED"
        assert archived["archivedAt"] is not None
        assert (await found(admin, name), await found(admin, name, status="ARCHIVED")) == ([], [made["id"]])
        assert (await admin.gql(ARCHIVE, input={"id": made["id"]})).codes == ["INVALID_STATE"]

        restored = (await admin.gql(RESTORE, input={"id": made["id"]})).data["restorePatient"]["record"]
        assert restored == {"status": "ACTIVE", "archivedAt": None}
        assert (await found(admin, name), await found(admin, name, status="ARCHIVED")) == ([made["id"]], [])
        assert (await admin.gql(RESTORE, input={"id": made["id"]})).codes == ["INVALID_STATE"]

    async def test_rights_decide_who_does_what(self, signed_in: SignedIn, clinic_a: Clinic, admin: Client) -> None:
        made = await register(admin)
        accountant, nurse = await signed_in(clinic_a, "accountant"), await signed_in(clinic_a, "nurse")

        assert (await accountant.gql(ONE, id=made["id"])).data["patient"]["id"] == made["id"]
        for client, query, input in (
            (accountant, CREATE, {"givenName": "A", "familyName": "B"}),
            (accountant, UPDATE, {"id": made["id"], "version": 1, "givenName": "No"}),
            (accountant, NOTES, {"id": made["id"], "version": 1, "notes": "No"}),
            (nurse, ARCHIVE, {"id": made["id"]}),
            (nurse, RESTORE, {"id": made["id"]}),
        ):
            assert (await client.gql(query, input=input)).codes == ["FORBIDDEN"]
        assert (await admin.gql(ONE, id=made["id"])).data["patient"] == made
