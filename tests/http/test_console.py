"""The query page: what it serves, that it obeys the strict content policy, that its examples are GraphQL."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import ObjectId
from graphql import build_schema, parse, validate
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from app.http.console import DemoAccount, console_routes
from app.http.console.pages import ASSETS, PAGE
from app.tenancy.scope import Scope, TenantId, TenantRef, open_scope

SCHEMA = Path(__file__).parents[2] / "schema.graphql"
EXAMPLES = [example for group in json.loads(ASSETS["examples.json"].body) for example in group["examples"]]
DOCUMENTS = [
    pytest.param(document, id=f"{example['title']}-{number}")
    for example in EXAMPLES
    for number, document in enumerate(
        ["\n".join(example["query"]), *(step["query"] for step in example.get("fill", ()))]
    )
]
SCRIPTS = sorted(name for name in ASSETS if name.endswith(".js"))


async def fetch(path: str, *accounts: DemoAccount, **headers: str) -> httpx.Response:
    routes = [Route(path, endpoint, methods=["GET"]) for path, endpoint in console_routes(accounts)]
    transport = httpx.ASGITransport(app=Starlette(routes=routes))
    async with httpx.AsyncClient(transport=transport, base_url="http://nile.localhost") as client:
        return await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


class Page(HTMLParser):
    """Every tag with its attributes, and what stands inside of `script` and `style`."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in {"script", "style"}:
            self.inline += data.strip()

    def values(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(attribute))]


def meta_demo(html: str) -> Any:
    return next(
        json.loads(attrs["content"] or "")
        for tag, attrs in Page(html).tags
        if tag == "meta" and attrs.get("name") == "polyclinic-demo"
    )


def text_of(name: str) -> str:
    return ASSETS[name].body.decode()


# ---- serving ----


async def test_the_page_comes_as_html_under_a_policy_that_forbids_inline_and_foreign_code() -> None:
    answer = await fetch("/graphql")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    ("suffix", "content_type"),
    [
        (".js", "text/javascript; charset=utf-8"),
        (".css", "text/css; charset=utf-8"),
        (".json", "application/json"),
        (".svg", "image/svg+xml"),
    ],
)
async def test_each_file_comes_with_the_type_that_nosniff_browsers_ask_for(suffix: str, content_type: str) -> None:
    names = [name for name in ASSETS if name.endswith(suffix)]
    assert names

    for name in names:
        answer = await fetch(f"/graphql/assets/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == content_type
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.content == ASSETS[name].body


@pytest.mark.parametrize(
    "name",
    ["pages.py", "__init__.py", "index.html", "nothing.js", "..%2Fconsole%2Fpages.py", "%2e%2e", "CONSOLE.JS"],
)
async def test_nothing_but_the_listed_files_can_be_fetched(name: str) -> None:
    answer = await fetch(f"/graphql/assets/{name}")

    assert answer.status_code == 404
    assert b"import" not in answer.content


@pytest.mark.parametrize("path", ["/graphql", "/graphql/assets/console.js"])
async def test_a_browser_that_has_the_present_file_is_not_sent_it_again(path: str) -> None:
    first = await fetch(path)

    again = await fetch(path, if_none_match=first.headers["etag"])
    other = await fetch(path, if_none_match='"of-another-version"')

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert other.status_code == 200


@pytest.mark.parametrize("path", ["/subscription", "/subscription/paid?order=6b018f0dbf74417e52b5826d"])
async def test_whoever_comes_back_from_paypal_finds_a_page_of_the_same_policy(path: str) -> None:
    answer = await fetch(path)
    page = Page(answer.text)
    assert answer.status_code == 200
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert page.inline == ""
    assert not [name for _, attrs in page.tags for name in attrs if name == "style" or name.startswith("on")]
    linked = [one.removeprefix("/graphql/assets/") for one in (*page.values("src"), *page.values("href"))]
    assert set(linked) <= ASSETS.keys()
    assert len(linked) == 3


# ---- demo accounts ----


async def test_no_account_is_offered_unless_the_server_lists_it() -> None:
    assert meta_demo((await fetch("/graphql")).text) == []


async def test_demo_accounts_reach_the_page_whatever_their_characters() -> None:
    account = DemoAccount('Admin "<b>&', "admin@nile.example", "p'a\"s<s>&word")

    page = (await fetch("/graphql", account)).text

    assert meta_demo(page) == [{"label": account.label, "email": account.email, "password": account.password}]
    assert "<b>" not in page


async def test_a_clinics_page_offers_its_own_demo_accounts_only() -> None:
    accounts = [
        DemoAccount("Admin", "admin@nile.example", "one-password", clinic="nile"),
        DemoAccount("Admin", "admin@delta.example", "two-password", clinic="delta"),
        DemoAccount("Operator", "root@example.com", "three-password"),
    ]
    tenant = TenantRef(TenantId(ObjectId()), "nile", "Nile")
    page = dict(console_routes(accounts))["/graphql"]

    request = Request({"type": "http", "method": "GET", "path": "/graphql", "headers": []})

    with open_scope(Scope(request_id="r", tenant=tenant)):
        answer = await page(request)

    offered = [each["email"] for each in meta_demo(bytes(answer.body).decode())]
    assert offered == ["admin@nile.example", "root@example.com"]
    assert b"delta" not in bytes(answer.body)


# ---- content policy ----


def test_the_page_holds_no_inline_code_style_or_handler() -> None:
    page = Page(PAGE)

    assert page.inline == ""
    assert not [tag for tag, _ in page.tags if tag in {"style", "base", "iframe", "object", "embed"}]
    attributes = {name for _, attrs in page.tags for name in attrs}
    assert "style" not in attributes
    assert not [name for name in attributes if name.startswith("on")]


def test_the_page_refers_to_files_of_its_own_and_all_of_them_exist() -> None:
    page = Page(PAGE)
    referred = page.values("src") + page.values("href")

    assert referred
    assert {path.removeprefix("/graphql/assets/") for path in referred} <= set(ASSETS)


@pytest.mark.parametrize("name", [*ASSETS, "index.html"])
def test_no_file_names_another_host(name: str) -> None:
    text = PAGE if name == "index.html" else text_of(name)

    addresses = re.findall(r"(?:https?:|wss?:)?//[\w.-]+\.\w+[^\s\"'`)]*", re.sub(r"(?m)^\s*//.*$", "", text))
    assert [each for each in addresses if not each.endswith("www.w3.org/2000/svg")] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_makes_code_or_markup_from_text(name: str) -> None:
    forbidden = r"\beval\b|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write|setAttribute\(\"style"

    assert not re.search(forbidden, text_of(name))


def test_no_stylesheet_loads_anything() -> None:
    assert not re.search(r"@import|url\(", text_of("console.css"))


# ---- the parts fit together ----


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_imports_files_and_names_that_exist(name: str) -> None:
    imports = re.findall(r'import \{([^}]*)\} from "\./([\w-]+\.js)"', text_of(name))

    for names, module in imports:
        assert module in ASSETS
        for wanted in re.findall(r"[\w$]+", names):
            assert re.search(rf"export (?:const|class|(?:async )?function) {re.escape(wanted)}(?!\w)", text_of(module))


def test_each_element_that_a_script_looks_for_is_on_the_page() -> None:
    there = set(Page(PAGE).values("id"))
    sought = {element for name in SCRIPTS for element in re.findall(r'\$\("#([\w-]+)', text_of(name))}

    assert sought
    assert sought <= there


def test_each_label_and_control_of_the_page_points_at_something() -> None:
    page = Page(PAGE)
    there = page.values("id")

    assert len(there) == len(set(there))
    assert {*page.values("aria-controls"), *page.values("aria-labelledby")} <= set(there)


def test_requests_carry_what_the_forgery_check_asks_for() -> None:
    transport = text_of("transport.js")

    assert '"Content-Type": "application/json"' in transport
    assert '"X-Polyclinic-Client": "console"' in transport
    assert 'credentials: "same-origin"' in transport


# ---- examples ----


def test_examples_are_told_apart_and_explained() -> None:
    titles = [example["title"] for example in EXAMPLES]

    assert len(titles) == len(set(titles))
    assert all(example["note"] for example in EXAMPLES)
    assert sum(example.get("opening", False) for example in EXAMPLES) == 1


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_example_is_a_graphql_document(document: str) -> None:
    parse(document)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_example_is_valid_in_the_committed_schema(document: str) -> None:
    assert validate(build_schema(SCHEMA.read_text("utf-8")), parse(document)) == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["title"])
def test_each_example_gives_every_variable_it_declares_and_fills_every_name(example: dict[str, Any]) -> None:
    document = parse("\n".join(example["query"]))
    definitions = document.to_dict()["definitions"][0]["variable_definitions"] or ()
    required = {each["variable"]["name"]["value"] for each in definitions if each["type"]["kind"] == "non_null_type"}
    used = set(re.findall(r"\{\{(\w+)\}\}", json.dumps(example)))
    looked_up = {name for step in example.get("fill", ()) for name in step["take"]}

    assert required <= set(example.get("variables", {}))
    assert used <= looked_up | {"today", "tomorrow", "now", "start", "uuid"}
