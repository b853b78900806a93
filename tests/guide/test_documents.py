"""Walks `docs/guide/documents.md`."""

from __future__ import annotations

from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.portal import Visit
from tests.guide.pages import operations_of
from tests.http.document_calls import PDF, code_of, fetch, picture, upload, uploaded

PAGE = operations_of("documents")


async def test_a_day_with_documents(server: Server, make_clinic: MakeClinic, visit: Visit) -> None:
    clinic: Clinic = await make_clinic()
    desk, doctor = await server.sign_in(clinic, "receptionist"), await server.sign_in(clinic, "doctor")
    vera = await visit(clinic)
    walked = set()

    def page(name: str) -> str:
        walked.add(name)
        return PAGE[name]

    # a letter arrives
    about = {"title": "Letter from Dr. Ames", "category": "LETTER", "patientId": str(vera.patient_id)}
    told = await uploaded(desk, PDF, "ames.pdf", **about)
    assert (told["number"], told["contentType"], told["hasThumbnail"]) == (1, "application/pdf", False)
    assert code_of(await upload(desk, b"MZ\x90\x00\x03\x00", "ames.pdf", **about)) == ("VALIDATION_FAILED", ["file"])

    # the doctor looks for it
    found = (await doctor.gql(page("PatientsDocuments"), patientId=str(vera.patient_id))).data["documents"]["edges"]
    [shown] = [edge["node"] for edge in found]
    assert shown["createdBy"] == {"name": "Receptionist Person"}
    assert shown["thumbnailPath"] is None
    assert (await fetch(doctor, shown["id"])).content == PDF

    # a better scan
    await uploaded(desk, picture(), "ames.png", documentId=told["id"], version=1)
    document = (await doctor.gql(page("Versions"), id=told["id"])).data["document"]
    assert document["file"] == {"number": 2, "fileName": "ames.png"}
    assert [edge["node"]["number"] for edge in document["versions"]["edges"]] == [2, 1]
    assert (await fetch(doctor, told["id"], version="1")).content == PDF
    named = (await doctor.gql(page("Rename"), id=told["id"], version=2)).data["updateDocument"]
    assert (named["version"], named["title"]) == (3, "Dr. Ames on the knee")

    # the patient may see it
    assert (await vera.asks(page("Mine")))["patientDocuments"]["edges"] == []
    shared = (await doctor.gql(page("Share"), id=told["id"], version=3)).data["shareDocumentWithPatient"]
    [edge] = (await vera.asks(page("Mine")))["patientDocuments"]["edges"]
    assert edge["node"]["title"] == "Dr. Ames on the knee"
    assert (await fetch(vera.client, told["id"])).content == picture()
    assert (await uploaded(vera.client, PDF, "card.pdf", category="INSURANCE"))["title"] == "card"

    # put away
    put = (await desk.gql(page("PutAway"), id=told["id"], version=shared["version"])).data["archiveDocument"]
    assert put["archivedAt"] is not None
    assert len((await vera.asks(page("Mine")))["patientDocuments"]["edges"]) == 1
    assert walked == PAGE.keys()
