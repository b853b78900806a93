"""What clients are told when something is wrong, and what they are not told."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo.errors import ServerSelectionTimeoutError
from structlog.testing import capture_logs

from app.services import catalog
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server

SECRET = "mongodb://root:hunter2@db.internal/patients of Ada Lovelace"
ROOMS = "{ rooms { edges { node { id } } } }"


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Makes the list of rooms fail with that error."""

    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(catalog, "listed", fail)


class TestMasking:
    @pytest.mark.parametrize("error", [RuntimeError(SECRET), KeyError(SECRET), AssertionError(SECRET)])
    async def test_an_unforeseen_failure_shows_its_request_id_alone(
        self, admin: Client, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        failing(monkeypatch, error)

        with capture_logs() as logged:
            answer = await admin.gql(ROOMS)

        assert answer.status == 500
        (shown,) = answer.errors
        request_id = shown["extensions"]["requestId"]
        assert request_id == answer.response.headers["x-request-id"]
        assert shown["extensions"] == {"code": "INTERNAL", "requestId": request_id, "fields": []}
        assert shown["message"] == "Internal error."
        for part in ("hunter2", "Lovelace", "Traceback", type(error).__name__):
            assert part not in answer.response.text
        (failure,) = [entry for entry in logged if entry["log_level"] == "error"]
        assert failure["exc_info"] is error

    async def test_a_value_that_its_type_cannot_show_is_masked_too(
        self, admin: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """graphql-core's own message would quote the value."""
        made = await admin.gql('mutation { createRoom(input: {name: "Masked room"}) { id } }')

        async def broken(*_: Any, **__: Any) -> dict[str, Any]:
            return {"_id": made.data["createRoom"]["id"], "version": SECRET}

        monkeypatch.setattr(catalog, "archive", broken)
        answer = await admin.gql(
            "mutation($input: ArchiveInput!) { archiveRoom(input: $input) { id version } }",
            input={"id": made.data["createRoom"]["id"], "version": 1},
        )

        assert answer.codes == ["INTERNAL"]
        assert "hunter2" not in answer.response.text

    async def test_a_database_that_does_not_answer_is_told_as_unavailable(
        self, admin: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failing(monkeypatch, ServerSelectionTimeoutError(SECRET))

        answer = await admin.gql(ROOMS)

        assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"])
        assert "hunter2" not in answer.response.text

    async def test_one_failing_field_leaves_the_others(self, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        failing(monkeypatch, RuntimeError(SECRET))

        answer = await admin.gql("{ viewer { role } rooms { totalCount } }")

        assert answer.codes == ["INTERNAL"]
        assert answer.errors[0]["path"] == ["rooms"]
        assert answer.body["data"] == {"viewer": {"role": "admin"}, "rooms": None}
        assert answer.status == 200


class TestDocuments:
    @pytest.mark.parametrize(
        "query",
        [
            "{",
            "nonsense",
            "{ rooms { edges",
            "{ nowhere }",
            "{ rooms }",
            "{ viewer { role { x } } }",
            "{ room { id } }",
            "{ rooms(first: 1, first: 2) { totalCount } }",
            "query($x: Nope) { viewer { role } }",
            "{ viewer { ...Missing } }",
            "{ ...A } fragment A on Query { ...A }",
            "query A { viewer { role } } query A { viewer { role } }",
            "mutation { createRoom(input: {name: 5}) { id } }",
            "{ rooms(sort: SIDEWAYS) { totalCount } }",
            "subscription { rooms { totalCount } }",
            "{ viewer @nope { role } }",
        ],
    )
    async def test_one_that_is_not_valid_is_refused_whole(self, admin: Client, query: str) -> None:
        answer = await admin.gql(query)

        assert answer.status == 400
        assert set(answer.codes) == {"VALIDATION_FAILED"}
        assert "data" not in answer.body

    async def test_an_operation_must_be_named_when_there_are_several(self, admin: Client) -> None:
        answer = await admin.gql("query A { viewer { role } } query B { viewer { role } }")

        assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["operationName"])

    async def test_nothing_outside_of_development_helps_to_guess_the_schema(self, admin: Client) -> None:
        guess = await admin.gql("{ room { idd } roms { totalCount } }")
        argument = await admin.gql("{ rooms(filter: {serch: 1}) { totalCount } }")
        variable = await admin.gql("query($s: NameSort!) { rooms(sort: $s) { totalCount } }", s="NAME_AS")

        for answer in (guess, argument, variable):
            assert answer.codes
            assert "Did you mean" not in answer.response.text
        for query in ("{ __schema { types { name } } }", '{ __type(name: "Room") { fields { name } } }'):
            answer = await admin.gql(query)
            assert (answer.status, set(answer.codes)) == (400, {"VALIDATION_FAILED"})
            assert "data" not in answer.body

    async def test_development_helps(self, server: Server, clinic_a: Clinic, admin: Client) -> None:
        open_server = server.variant(introspection=True)
        client = open_server.client(clinic_a.host, admin.token)

        assert "Did you mean" in (await client.gql("{ roms { totalCount } }")).response.text
        assert (await client.gql("{ __schema { queryType { name } } }")).data["__schema"]["queryType"][
            "name"
        ] == "Query"


class TestVariables:
    @pytest.mark.parametrize(
        ("variables", "path"),
        [
            ({}, "input"),
            ({"input": None}, "input"),
            ({"input": "text"}, "input"),
            ({"input": []}, "input"),
            ({"input": {}}, "input.name"),
            ({"input": {"name": None}}, "input.name"),
            ({"input": {"name": 5}}, "input.name"),
            ({"input": {"name": ["x"]}}, "input.name"),
            ({"input": {"name": {"$gt": ""}}}, "input.name"),
            ({"input": {"name": "x", "kind": 3}}, "input.kind"),
            ({"input": {"name": "x", "colour": "red"}}, "input.colour"),
        ],
    )
    async def test_what_does_not_fit_is_told_by_path(self, admin: Client, variables: dict[str, Any], path: str) -> None:
        answer = await admin.gql("mutation($input: CreateRoomInput!) { createRoom(input: $input) { id } }", **variables)

        assert (answer.status, set(answer.codes)) == (400, {"VALIDATION_FAILED"})
        assert path in answer.paths

    async def test_what_a_client_sent_is_not_repeated_to_it(self, server: Server, clinic_a: Clinic) -> None:
        answer = await server.client(clinic_a.host).gql(
            "mutation($input: LoginInput!) { login(input: $input) { token } }",
            input={"email": "a@example.com", "password": "hunter2 hunter2", "extra": 1},
        )

        assert answer.paths == ["input.extra"]
        assert "hunter2" not in answer.response.text

    async def test_a_null_inside_of_a_literal_is_told_by_the_arguments_path(self, admin: Client) -> None:
        for query in (
            "query($n: Int) { rooms(first: $n) { totalCount } }",
            "query($n: Boolean = true) { rooms(filter: {archived: $n}) { totalCount } }",
        ):
            answer = await admin.gql(query, n=None)
            assert answer.codes == ["VALIDATION_FAILED"]
            assert answer.paths in (["first"], ["filter.archived"])

    async def test_a_value_that_may_be_left_out_but_not_emptied(self, admin: Client) -> None:
        for query in (
            'mutation { updateRoom(input: {id: "x", version: 1, name: null}) { id } }',
            'mutation($n: String) { updateRoom(input: {id: "x", version: 1, name: $n}) { id } }',
        ):
            answer = await admin.gql(query, n=None)
            assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.name"])


class TestStatus:
    async def test_failures_have_the_status_of_their_code_when_no_data_came(
        self, make_clinic: MakeClinic, server: Server, admin: Client
    ) -> None:
        clinic = await make_clinic()
        nurse = await server.sign_in(clinic, "nurse")

        assert (await server.client(clinic.host).gql(ROOMS)).status == 401
        assert (await nurse.gql("{ settings { version } }")).status == 403
        assert (await server.client(clinic.host, admin.token).gql(ROOMS)).codes == ["TENANT_MISMATCH"]
        assert (await server.client("nobody.polyclinic.test").gql(ROOMS)).status == 404
        assert (await admin.gql('{ room(id: "x") { id } }')).status == 200
