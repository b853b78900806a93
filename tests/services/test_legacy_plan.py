"""Whose documents without a clinic are: laws that hold however they are tied together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from app.services.legacy.plan import NOBODYS, SEVERAL, Clinics, Decision, Found, Key, Rule, Said, Tie, decide

CLINICS = [ObjectId(f"{number:024x}") for number in (1, 2)]
A, B = (frozenset({clinic}) for clinic in CLINICS)
OWNED = [Key("owned", bytes([number])) for number in range(4)]
NOWHERE = Key("owned", b"nowhere")


@dataclass(slots=True)
class World:
    """Documents without a clinic, those with one, and what is said."""

    found: dict[Key, Found]
    owners: dict[Key, Clinics]
    pointed: dict[Key, Clinics]
    said: Said

    def decided(self) -> dict[Key, Decision]:
        return decide(self.found, self.owners, self.pointed, self.said)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    keys = [Key("old", bytes([number])) for number in range(draw(st.integers(1, 7)))]
    some = st.frozensets(st.sampled_from(CLINICS), max_size=1)
    ties = st.lists(st.sampled_from([*keys, *OWNED, NOWHERE]), max_size=3)
    found = {
        key: Found(
            ties=tuple(Tie(f"to_{number}", to) for number, to in enumerate(draw(ties))),
            named=draw(some) if draw(st.integers(0, 3)) == 0 else frozenset(),
            problem="is wrong" if draw(st.integers(0, 9)) == 0 else None,
            text=str(key.id),
        )
        for key in keys
    }
    owners: dict[Key, Clinics] = {key: draw(st.sampled_from([A, A, B, A | B])) for key in OWNED}
    pointed = {key: draw(some) for key in keys if draw(st.booleans())}
    return World(found, owners, pointed, Said(of_all=draw(st.sampled_from([None, None, CLINICS[0]]))))


@given(worlds(), st.randoms())
def test_the_order_in_which_documents_come_makes_no_difference(world: World, random: object) -> None:
    before = world.decided()
    items = list(world.found.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    world.found = dict(items)
    after = world.decided()
    assert {key: one.clinics for key, one in after.items() if one.rule} == {
        key: one.clinics for key, one in before.items() if one.rule
    }


@given(worlds())
def test_nothing_is_assigned_that_would_point_into_another_clinic_or_to_what_stays_behind(world: World) -> None:
    decided = world.decided()
    for key, one in decided.items():
        if one.rule is None:
            assert one.reason
            continue
        assert len(one.clinics) == 1
        assert world.found[key].problem is None
        assert all({clinic} == one.clinics for clinic in world.pointed.get(key, ()))
        for tie in world.found[key].ties:
            if tie.to in decided:
                assert decided[tie.to].rule is not None
                assert one.clinics <= decided[tie.to].clinics
            elif tie.to in world.owners:
                assert one.clinics <= world.owners[tie.to]
            else:
                assert one.rule is not Rule.REFERENCES


@given(worlds())
def test_a_second_run_assigns_nothing_more(world: World) -> None:
    decided = world.decided()
    given_away = {key: one.clinics for key, one in decided.items() if one.rule is not None}
    pointed = {key: set(clinics) for key, clinics in world.pointed.items()}
    for key, clinics in given_away.items():
        for tie in world.found[key].ties:
            pointed.setdefault(tie.to, set()).update(clinics)
    later = World(
        {key: one for key, one in world.found.items() if key not in given_away},
        {**world.owners, **given_away},
        {key: frozenset(clinics) for key, clinics in pointed.items()},
        world.said,
    )
    assert [key for key, one in later.decided().items() if one.rule is not None] == []


def alone(*ties: Key, owners: Mapping[Key, Clinics]) -> Decision:
    key = Key("old", b"x")
    found = {key: Found(ties=tuple(Tie("to", to) for to in ties))}
    return decide(found, owners, {}, Said())[key]


def test_references_must_all_lead_to_one_clinic() -> None:
    one, two, both = OWNED[:3]
    owners = {one: A, two: B, both: A | B}
    assert alone(one, both, owners=owners) == Decision(A, Rule.REFERENCES)
    assert alone(one, two, owners=owners).reason == SEVERAL
    assert alone(both, owners=owners).rule is None
    assert alone(owners=owners).reason == NOBODYS
    assert alone(one, NOWHERE, owners=owners).reason == "to points to nothing"


def test_what_is_tied_together_goes_together_however_far() -> None:
    chain = [Key("old", bytes([number])) for number in range(50)]
    found = {key: Found(ties=(Tie("next", after),)) for key, after in zip(chain, [*chain[1:], OWNED[0]], strict=True)}
    assert set(decide(found, {OWNED[0]: B}, {}, Said()).values()) == {Decision(B, Rule.REFERENCES)}
