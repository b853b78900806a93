"""The host decides the clinic, so nothing that a client writes there may mislead."""

from __future__ import annotations

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.tenancy.hosts import (
    BadHost,
    Clinic,
    Outcome,
    Root,
    Unknown,
    extract_subdomain,
    is_subdomain,
    normalise_host,
    parse_host,
    resolve_host,
)

ROOT = "myclinicsoft.com"
PREVIEW = "vercel.app"

_INNER = string.ascii_lowercase + string.digits
subdomains = st.builds(
    lambda first, middle, last: first + middle + last,
    st.sampled_from(_INNER),
    st.text(_INNER + "-", max_size=61),
    st.sampled_from(_INNER),
).filter(lambda name: name != "www")
ports = st.none() | st.integers(1, 65535)


def outcome(host: str, *, development: bool = False) -> Outcome:
    return resolve_host(host, root_domain=ROOT, preview_domain=PREVIEW, development=development)


def subdomain(host: str, *, development: bool = False) -> str | None:
    return extract_subdomain(host, root_domain=ROOT, preview_domain=PREVIEW, development=development)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("clinic-a.myclinicsoft.com", "clinic-a"),
        ("clinic-a.myclinicsoft.com:8443", "clinic-a"),
        ("Clinic-A.MyClinicSoft.com.", "clinic-a"),
        ("www.myclinicsoft.com", None),
        ("myclinicsoft.com", None),
        ("clinic-a.localhost", "clinic-a"),
        ("clinic-a.localhost:3000", "clinic-a"),
        ("www.localhost", None),
        ("localhost", None),
        ("localhost:3000", None),
        ("127.0.0.1:3000", None),
        ("[::1]:3000", None),
        ("clinic---pr-42.vercel.app", "clinic"),
        ("clinic.vercel.app", None),
        ("other.example.org", None),
    ],
)
def test_the_table_of_hosts_in_development(host: str, expected: str | None) -> None:
    assert subdomain(host, development=True) == expected


@pytest.mark.parametrize("host", ["clinic-a.localhost", "localhost", "127.0.0.1", "[::1]", "www.localhost"])
def test_local_names_mean_nothing_in_production(host: str) -> None:
    assert outcome(host) == Unknown()


@pytest.mark.parametrize("host", [ROOT, f"www.{ROOT}"])
def test_the_apex_and_www_are_the_root_host(host: str) -> None:
    assert outcome(host) == Root()


@pytest.mark.parametrize(
    "host",
    [
        "b.a.myclinicsoft.com",
        "b.a.localhost",
        "www.a.myclinicsoft.com",
        "a---b.c.vercel.app",
        "vercel.app",
        "clinic---.vercel.app",
        "---x.vercel.app",
        "a.myclinicsoft.com.evil.com",
        "a.localhost.evil.com",
        "evilmyclinicsoft.com",
        "a.notmyclinicsoft.com",
        "x.myclinicsoft.com",
        "-a.myclinicsoft.com",
        "a-.myclinicsoft.com",
        "a_b.myclinicsoft.com",
        "10.0.0.1",
        "[2001:db8::1]",
    ],
)
def test_no_clinic_answers_on_deeper_foreign_or_impossible_names(host: str) -> None:
    assert outcome(host, development=True) == Unknown()


@pytest.mark.parametrize(
    "raw",
    [
        "",
        ".",
        "a@evil.com",
        "user:pass@a.myclinicsoft.com",
        "a b.myclinicsoft.com",
        " a.myclinicsoft.com",
        "a.myclinicsoft.com\n",
        "a.myclinicsoft.com\x00",
        "a..myclinicsoft.com",
        ".myclinicsoft.com",
        "a.myclinicsoft.com..",
        "a.myclinicsoft.com,b.myclinicsoft.com",
        "a.myclinicsoft.com/x",
        "a.myclinicsoft.com:",
        "a.myclinicsoft.com:0",
        "a.myclinicsoft.com:65536",
        "a.myclinicsoft.com:80:80",
        "a.myclinicsoft.com:8o",
        "a.myclinicsoft.com:٣",
        "ä.myclinicsoft.com",
        "\u212a.myclinicsoft.com",
        f"{'a' * 64}.myclinicsoft.com",
        ".".join(["abc"] * 70),
        "[::1",
        "::1",
        "[::1%25eth0]",
        "[nonsense]",
        "[]",
    ],
)
def test_malformed_hosts_are_refused_not_guessed(raw: str) -> None:
    with pytest.raises(BadHost):
        normalise_host(raw)


def test_the_port_is_kept_for_those_who_need_it() -> None:
    parsed = parse_host("Alpha.Example.com:8443")

    assert (parsed.host, parsed.port, parsed.authority) == (
        "alpha.example.com",
        8443,
        "alpha.example.com:8443",
    )
    assert parse_host("alpha.example.com").authority == "alpha.example.com"


@given(st.text() | st.text(string.ascii_letters + string.digits + ".-:@[]_, /", max_size=80))
def test_arbitrary_text_gives_an_answer_or_bad_host(raw: str) -> None:
    try:
        canonical = normalise_host(raw)
    except BadHost:
        with pytest.raises(BadHost):
            subdomain(raw, development=True)
        return
    assert normalise_host(canonical) == canonical
    assert outcome(raw, development=True) == outcome(canonical, development=True)


@given(subdomains, ports, st.booleans(), st.randoms(use_true_random=False))
def test_port_case_and_trailing_dot_change_nothing(name: str, port: int | None, dot: bool, dice) -> None:  # type: ignore[no-untyped-def]
    plain = f"{name}.{ROOT}"
    shouted = "".join(dice.choice((letter, letter.upper())) for letter in plain)
    dressed = shouted + ("." if dot else "") + (f":{port}" if port else "")

    assert normalise_host(dressed) == plain
    assert outcome(dressed) == outcome(plain) == Clinic(name)


@given(subdomains, st.text(_INNER, min_size=1, max_size=9))
def test_every_valid_subdomain_comes_back_from_its_hosts(name: str, branch: str) -> None:
    assert is_subdomain(name)
    assert subdomain(f"{name}.{ROOT}") == name
    assert subdomain(f"{name}.localhost", development=True) == name
    preview = f"{name}---{branch}"
    assume(len(preview) <= 63)
    assert subdomain(f"{preview}.{PREVIEW}") == name.partition("---")[0] or "---" in name


@given(st.lists(st.text(_INNER + "-", min_size=1, max_size=12), min_size=1, max_size=5).map(".".join))
def test_hosts_outside_our_domains_never_name_a_clinic(host: str) -> None:
    assume(not host.endswith((f".{ROOT}", f".{PREVIEW}", ".localhost")))
    assert not isinstance(outcome(host, development=True), Clinic)


@given(subdomains, st.text(_INNER, min_size=1, max_size=9))
def test_a_deeper_name_belongs_to_nobody(name: str, deeper: str) -> None:
    for host in (f"{deeper}.{name}.{ROOT}", f"{deeper}.{name}.localhost"):
        assert outcome(host, development=True) == Unknown()
