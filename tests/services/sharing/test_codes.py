"""What a share code is, however somebody types it."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import assume, given
from hypothesis import strategies as st

from app.services.sharing.codes import ALPHABET, IssuedCode, hash_of

plain = st.text(alphabet=ALPHABET, min_size=16, max_size=16)


@given(plain, st.lists(st.sampled_from(["-", " ", ".", "\t", ""]), min_size=16, max_size=16), st.booleans())
def test_case_blanks_and_dashes_do_not_matter(code: str, between: list[str], lower: bool) -> None:
    typed = "".join(char + gap for char, gap in zip(code, between, strict=True))
    assert hash_of(typed.lower() if lower else typed) == hash_of(code)


@given(plain, plain)
def test_another_code_is_another_hash(one: str, other: str) -> None:
    assume(one != other)
    assert hash_of(one) != hash_of(other)


@given(plain)
def test_the_qr_code_is_one_image_that_shows_no_text_and_loads_nothing(code: str) -> None:
    svg = IssuedCode(code, {}).qr_svg
    assert code not in svg
    tree = ElementTree.fromstring(svg)  # noqa: S314 - our own
    assert {element.tag.rpartition("}")[2] for element in tree.iter()} == {"svg", "path"}
    assert not [name for element in tree.iter() for name in element.attrib if "href" in name]
