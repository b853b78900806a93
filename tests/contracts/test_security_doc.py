"""docs/security.md says which code keeps each rule and which test shows it: what it names must be there."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

TEST = re.compile(r"`(tests/[\w/]+\.py)((?:::\w+)+)`")
FILE = re.compile(r"`((?:app|benchmarks|docs|models|resolvers|scripts|tests)/[\w/.-]+\.(?:py|md))(?:::[\w:]+)?`")
CODE_AND_NAMES = re.compile(r"`((?:app|models|resolvers|scripts)/[\w/]+\.py)`((?:,? `_?\w+`)+)")
MODULE = re.compile(r"python -m ((?:scripts|benchmarks)[\w.]*)")
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
ROW = re.compile(r"^\| (?!What must hold|Trap)(?P<cells>.+) \|$", re.MULTILINE)


@lru_cache
def names_in(path: str) -> frozenset[str]:
    """The functions and classes of a file as `name` or `Class::name`, and its assigned names."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(chain.from_iterable(_names(node, "") for node in tree.body))


def _names(node: ast.stmt, before: str) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [before + node.name]
    if isinstance(node, ast.ClassDef):
        return [before + node.name, *chain.from_iterable(_names(one, f"{node.name}::") for one in node.body)]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [
        before + one.id
        for target in targets
        for one in (target.elts if isinstance(target, ast.Tuple) else [target])
        if isinstance(one, ast.Name)
    ]


def anchors_of(text: str) -> set[str]:
    """The anchors of the headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_test_that_is_named_exists() -> None:
    named = set(TEST.findall(TEXT))
    assert len(named) > 150
    gone = [path + test for path, test in named if not (ROOT / path).is_file() or test[2:] not in names_in(path)]
    assert not sorted(gone)


def test_each_test_that_is_named_is_one() -> None:
    assert not sorted(path + test for path, test in TEST.findall(TEXT) if "::test_" not in test)


def test_each_file_that_is_named_exists() -> None:
    assert not sorted(path for path in FILE.findall(TEXT) if not (ROOT / path).is_file())


def test_each_function_that_is_named_beside_its_file_is_there() -> None:
    named = {(path, name) for path, names in CODE_AND_NAMES.findall(TEXT) for name in re.findall(r"\w+", names)}
    assert len(named) > 40
    gone = [f"{path}: {name}" for path, name in named if name not in {one.split("::")[-1] for one in names_in(path)}]
    assert not sorted(gone)


def test_each_command_that_is_named_exists() -> None:
    commands = MODULE.findall(TEXT)
    assert commands
    assert not [one for one in commands if not (ROOT / (one.replace(".", "/") + ".py")).is_file()]


def test_each_rule_names_code_and_a_test_that_shows_it() -> None:
    rows = [row for row in ROW.findall(TEXT) if set(row) - set("-| ")]
    assert len(rows) > 100
    for row in rows:
        rule, enforced, shown = row.split(" | ")
        assert rule
        assert enforced
        assert TEST.search(shown), f"no test is named for: {rule}"


def test_each_link_leads_somewhere() -> None:
    for target, anchor in LINK.findall(TEXT):
        path = ROOT / "docs" / (target or "security.md")
        assert path.is_file(), f"there is no {target}"
        assert not anchor or anchor in anchors_of(path.read_text(encoding="utf-8")), f"{path.name} has no #{anchor}"


def test_the_look_would_notice() -> None:
    ways = TEST.findall("`tests/contracts/test_security_doc.py::test_that_is_gone`")
    assert ways == [("tests/contracts/test_security_doc.py", "::test_that_is_gone")]
    assert "test_that_is_gone" not in names_in("tests/contracts/test_security_doc.py")
    assert "test_the_look_would_notice" in names_in("tests/contracts/test_security_doc.py")
    assert FILE.findall("`app/no_such_file.py`") == ["app/no_such_file.py"]
    assert anchors_of("## After restoring a backup") == {"after-restoring-a-backup"}
