"""What both servers are asked: generated queries, by several people, of clinics with sound and with spoiled data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import uuid4

from bson import ObjectId
from graphql import GraphQLArgument, Undefined, get_named_type

from app.auth.sessions import open_session
from app.permissions import Permission, PlatformRole
from models import Operator, User
from tests.contracts._schema import Place, RootField, is_required, leaf_values, places, root_fields, schema
from tests.contracts._values import collection_of, variables
from tests.fixtures.clinics import Client, MakeClinic, Server
from tests.fixtures.mirror import Generation, Mirror, Side, side_of
from tests.fixtures.servers import Pair, Servers
from tests.fuzz.documents import DocumentMaker, Made, Root
from tests.fuzz.variety import lose_relations, spoil

QUERIES = [root for root in root_fields() if not root.is_mutation]


@dataclass(slots=True, repr=False)
class Duel:
    """The two servers, the clinics with their data, and who asks."""

    servers: Servers
    sides: list[Side]
    callers: dict[tuple[int, str], Pair]
    foreign: Side
    cursors: dict[str, list[str]] = field(default_factory=dict)
    """By root field; made once, so that a question depends on nothing that was asked before."""
    seen: Counter[str] = field(default_factory=Counter)
    moving: Counter[str] = field(default_factory=Counter)
    """Root fields in operations whose answer never stood still."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How hypothesis shows it with each example that fails."""
        printer.text("the two servers")

    # --- what is asked -----------------------------------------------------------------------------------------------

    def made(self, chance: Random, who: tuple[int, str], usual: list[RootField]) -> Made:
        """A query of one to three root fields, of which the caller may mostly ask all."""
        many = chance.choice((1, 1, 1, 2, 3))
        fields = [chance.choice(usual if chance.random() < 0.9 else QUERIES) for _ in range(many)]
        maker = DocumentMaker(
            schema(), chance, self._argument(chance), depth=chance.choice((3, 5, 6, 8)), width=chance.choice((3, 6))
        )
        roots = [Root(one.name, one.core, self._given(chance, one, self.sides[who[0]])) for one in fields]
        return maker.make("query", roots)

    def _given(self, chance: Random, root: RootField, side: Side) -> dict[str, Any]:
        generation = chance.choice(side.generations)

        def pick(place: Place) -> str:
            return self._id(chance, place, generation)

        given = variables(root, pick)
        optional = [place for place in places(root) if not place.required and place.name not in ("first", "after")]
        if optional and chance.random() < 0.4:
            place = chance.choice(optional)
            value = pick(place) if place.type.name == "ID" else chance.choice(leaf_values(place) or ("a", None))
            if place.type.name in ("ID", "String", "Boolean") or leaf_values(place):
                given = variables(root, pick, place, value)
        for name in ("first", "after"):
            if name in root.core.args:
                given[name] = self._page(chance, name, root.name)
        return given

    def _id(self, chance: Random, place: Place, generation: Generation) -> str:
        kind = chance.randrange(20)
        if kind == 0:
            return chance.choice(("x", "", "0" * 24, str(ObjectId("f" * 24))))
        known = self.foreign.latest if kind == 1 else generation
        if kind == 2:
            return str(chance.choice(list(known.values())))
        try:
            return str(known[collection_of(place)])
        except (AssertionError, KeyError):
            return "0" * 24

    def _page(self, chance: Random, name: str, root: str) -> Any:
        if name == "first":
            return chance.choice((1, 2, 3, 5) if chance.random() < 0.8 else (Undefined, 20, 0, 101, None, "x"))
        known = self.cursors.get(root)
        return chance.choice(known) if known and chance.random() < 0.3 else chance.choice((Undefined, None, "nothing"))

    def _argument(self, chance: Random) -> Any:
        def value(name: str, slot: GraphQLArgument) -> Any:
            if name == "first":
                return chance.choice((1, 2, 2, 3)) if chance.random() < 0.9 else chance.choice((Undefined, 0, -1, 101))
            known = self.cursors.get("appointments")
            if name == "after" and known and chance.random() < 0.3:
                return chance.choice(known)
            if chance.random() < 0.8 and not is_required(slot):
                return Undefined
            return {"Int": 1, "Boolean": True}.get(get_named_type(slot.type).name, "nothing")

        return value

    async def collect_cursors(self) -> None:
        """Real cursors, for questions to go on behind."""
        for root in QUERIES:
            if not root.is_connection:
                continue
            who = "a patient" if root.is_for_patients else "an operator" if root.is_above_clinics else "admin"
            text = root.document("{ edges { cursor } }")
            for number in (0, 1):
                latest = self.sides[number].latest
                given = variables(root, lambda place, own=latest: str(own[collection_of(place)]))  # type: ignore[misc]
                answer = await self.callers[number, who].reference.gql(text, **given)
                edges = ((answer.body.get("data") or {}).get(root.name) or {}).get("edges", [])
                self.cursors.setdefault(root.name, []).extend(edge["cursor"] for edge in edges[:6])


def allowed(who: str) -> list[RootField]:
    """What somebody mostly asks for."""
    if who == "a patient":
        return [root for root in QUERIES if root.is_for_patients or root.is_public]
    if who == "an operator":
        return [root for root in QUERIES if root.is_above_clinics or root.is_public]
    if who == "appointments only":
        return [root for root in QUERIES if root.permission is Permission.APPOINTMENT_READ]
    return [root for root in QUERIES if not root.is_for_patients and not root.is_above_clinics]


WHO: Mapping[str, int] = {
    "admin": 6,
    "doctor": 2,
    "appointments only": 2,
    "a patient": 3,
    "nobody": 1,
    "an operator": 2,
}


async def duel_of(servers: Servers, make_clinic: MakeClinic, mirror: Mirror) -> Duel:
    """A clinic with sound data, of which relations are missing, and one with rows that are not as their types say."""
    chance = Random(11)
    sound, spoiled = [await side_of(servers.compiled, await make_clinic(), name) for name in ("s", "t")]
    for side in (sound, spoiled):
        for _ in range(4):
            await side.grow()
        side.generations.append(await side.strays(mirror.b.latest))
    await lose_relations(mirror.raw, sound.generations[0], chance)
    for columns, generation in ((1, spoiled.generations[0]), (1, spoiled.generations[1]), (4, spoiled.generations[2])):
        await spoil(mirror.raw, generation, chance, columns)
    callers = {
        (number, who): servers.pair(await _client(side, who))
        for number, side in enumerate((sound, spoiled))
        for who in WHO
    }
    made = Duel(servers, [sound, spoiled], callers, mirror.b)
    await made.collect_cursors()
    return made


async def _client(side: Side, who: str) -> Client:
    match who:
        case "nobody":
            return side.server.client(side.clinic.host)
        case "a patient":
            return await side.patient(side.generations[3])
        case "appointments only":
            return await side.person_with({Permission.APPOINTMENT_READ})
        case "an operator":
            return await _operator(side.server)
        case role:
            return await side.client(role)


async def _operator(server: Server) -> Client:
    user = await User(email=f"op-{uuid4().hex}@example.com", name="Olga", password_hash="none").insert()
    await Operator(user_id=user.key, role=PlatformRole.SUPER_ADMIN).insert()
    opened = await open_session(user, server.settings, clinic=None, address="127.0.0.9", device="test")
    return server.client(token=opened.token)
