"""Aggregations, rewritten so that every branch reads one clinic only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson import ObjectId

from app.errors import TenantGuardRefused
from app.tenancy.criteria import (
    Document,
    check_filter,
    names_hidden,
    refuse_javascript,
    tenant_clause,
)
from app.tenancy.kinds import HIDDEN_FIELDS, Kind, kind_of

PLAIN_STAGES = frozenset(
    {
        "$addFields",
        "$bucket",
        "$bucketAuto",
        "$count",
        "$densify",
        "$fill",
        "$group",
        "$limit",
        "$match",
        "$project",
        "$replaceRoot",
        "$replaceWith",
        "$sample",
        "$set",
        "$setWindowFields",
        "$skip",
        "$sort",
        "$sortByCount",
        "$unset",
        "$unwind",
    }
)
"""Stages that read nothing but their input. All others are rewritten below or refused."""

STRIP: Document = {"$unset": sorted(HIDDEN_FIELDS)}
"""Takes the arrays of tenant ids out before a caller's stages can see them."""
KEEPING = frozenset({"$addFields", "$limit", "$lookup", "$match", "$sample", "$set", "$skip", "$sort"})
"""Stages behind which a row is still one document with all of its columns."""
BEFORE_STRIP = frozenset({"$match", "$sort", "$skip", "$limit"})
"""Stages that only choose documents stay in front of `STRIP`, so that they can use indexes."""


def reshapes(pipeline: Any) -> bool:
    """Whether what comes out is something else than the documents themselves."""
    return any(not KEEPING.issuperset(stage) for stage in pipeline)


def scoped_pipeline(kind: Kind, own: ObjectId | None, pipeline: Any) -> list[Document]:
    """`pipeline` for one clinic: the tenant first, each join and union scoped. Platform pipelines are only checked.

    Raises `TenantGuardRefused` for a stage or a target that cannot be held to the clinic.
    """
    stages = _checked(kind, own, pipeline)
    if kind is Kind.PLATFORM or own is None:
        return _rewritten(kind, own, stages)
    first, rest = _split_first_match(stages)
    opening: Document = {"$match": {"$and": [tenant_clause(kind, own), first]} if first else tenant_clause(kind, own)}
    if kind is not Kind.SHARED:
        return [opening, *_rewritten(kind, own, rest)]
    chosen, shaped = _split_choosing(rest)
    return [opening, *chosen, STRIP, *_rewritten(kind, own, shaped)]


def _checked(kind: Kind, own: ObjectId | None, pipeline: Any) -> list[Mapping[str, Any]]:
    if not isinstance(pipeline, list | tuple):
        raise TenantGuardRefused("a pipeline must be a list of stages")
    for stage in pipeline:
        if not isinstance(stage, Mapping) or len(stage) != 1:
            raise TenantGuardRefused("a pipeline must be a list of single stages")
        if "$match" in stage:
            check_filter(kind, own, stage["$match"])
        elif kind is Kind.SHARED:
            _refuse_hidden_in(stage)
        refuse_javascript(stage)
    return list(pipeline)


def _refuse_hidden_in(stage: Mapping[str, Any]) -> None:
    """Behind `STRIP` the whole document is harmless, but a name that can never have a value is a bug."""
    waiting: list[Any] = [*stage.values()]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [*value, *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value
        elif names_hidden(value):
            raise TenantGuardRefused("which clinics share or archived a document is not for callers to read")


def _split_first_match(stages: Sequence[Mapping[str, Any]]) -> tuple[Any, Sequence[Mapping[str, Any]]]:
    """The caller's leading filter joins the tenant's: `$text` must stand in the first stage."""
    if stages and "$match" in stages[0]:
        return stages[0]["$match"], stages[1:]
    return None, stages


def _split_choosing(
    stages: Sequence[Mapping[str, Any]],
) -> tuple[list[Document], Sequence[Mapping[str, Any]]]:
    count = 0
    while count < len(stages) and BEFORE_STRIP.issuperset(stages[count]):
        count += 1
    return [dict(stage) for stage in stages[:count]], stages[count:]


def _rewritten(kind: Kind, own: ObjectId | None, stages: Sequence[Mapping[str, Any]]) -> list[Document]:
    result: list[Document] = []
    for stage in stages:
        ((name, content),) = stage.items()
        if name in PLAIN_STAGES:
            result.append(dict(stage))
        elif name == "$lookup":
            result.append({name: _lookup(kind, own, content)})
        elif name == "$unionWith":
            result.append({name: _union(kind, own, content)})
        elif name == "$facet":
            result.append({name: _facet(kind, own, content)})
        elif name == "$graphLookup":
            result += _graph_lookup(kind, own, content)
        else:
            raise TenantGuardRefused(f"the stage {name} is not allowed")
    return result


def _target(kind: Kind, name: Any) -> Kind:
    """The kind of a joined collection. Raises `TenantGuardRefused` when it must not be joined from here."""
    target = kind_of(name)
    if target is None:
        raise TenantGuardRefused(f"{name!r} is not a collection that may be joined")
    if (target is Kind.PLATFORM) is not (kind is Kind.PLATFORM):
        raise TenantGuardRefused("a clinic's collections and the platform's are not joined")
    return target


def _options(content: Any, allowed: frozenset[str]) -> Document:
    if not isinstance(content, Mapping) or not allowed.issuperset(content):
        raise TenantGuardRefused("a join may only say: " + ", ".join(sorted(allowed)))
    return dict(content)


_LOOKUP = frozenset({"from", "localField", "foreignField", "let", "pipeline", "as"})


def _lookup(kind: Kind, own: ObjectId | None, content: Any) -> Document:
    """All forms of `$lookup`. `localField`/`foreignField` stay beside the pipeline, so the join keeps its index."""
    options = _options(content, _LOOKUP)
    target = _target(kind, options.get("from"))
    _refuse_joining_by_hidden(target, options.get("foreignField"))
    pipeline = scoped_pipeline(target, own, options.get("pipeline", []))
    if pipeline or "pipeline" in options:
        options["pipeline"] = pipeline
    return options


def _refuse_joining_by_hidden(target: Kind, *fields: Any) -> None:
    if target is Kind.SHARED and any(names_hidden(field) for field in fields):
        raise TenantGuardRefused("a join by the clinics of a shared document would tell them")


def _union(kind: Kind, own: ObjectId | None, content: Any) -> Document:
    options = {"coll": content} if isinstance(content, str) else _options(content, frozenset({"coll", "pipeline"}))
    target = _target(kind, options.get("coll"))
    return {"coll": options["coll"], "pipeline": scoped_pipeline(target, own, options.get("pipeline", []))}


def _facet(kind: Kind, own: ObjectId | None, content: Any) -> Document:
    """The input of a facet is scoped already; what each branch joins is not."""
    if not isinstance(content, Mapping):
        raise TenantGuardRefused("$facet must be a mapping")
    return {name: _rewritten(kind, own, _checked(kind, own, branch)) for name, branch in content.items()}


_GRAPH = frozenset(
    {
        "from",
        "startWith",
        "connectFromField",
        "connectToField",
        "as",
        "maxDepth",
        "depthField",
        "restrictSearchWithMatch",
    }
)


def _graph_lookup(kind: Kind, own: ObjectId | None, content: Any) -> list[Document]:
    """Has no pipeline of its own: the tenant goes into its match, and the arrays are stripped afterwards."""
    options = _options(content, _GRAPH)
    target = _target(kind, options.get("from"))
    if target is Kind.PLATFORM or own is None:
        return [{"$graphLookup": options}]
    _refuse_joining_by_hidden(target, options.get("connectFromField"), options.get("connectToField"))
    asked = options.get("restrictSearchWithMatch")
    check_filter(target, own, asked)
    clause = tenant_clause(target, own)
    options["restrictSearchWithMatch"] = {"$and": [clause, asked]} if asked else clause
    stages: list[Document] = [{"$graphLookup": options}]
    if target is Kind.SHARED:
        stages.append({"$unset": [f"{options['as']}.{field}" for field in sorted(HIDDEN_FIELDS)]})
    return stages


BUSY_CLAIMS = "appointments"
"""The collection that `busy_claims_pipeline` may read across clinics."""
CLAIMS = "claims"
PERSONAL = ("doctor:", "overbook:")
"""What claims of a person's time begin with; all others are good within one clinic."""


def busy_claims_pipeline(low: str, high: str) -> list[Document]:
    """The one read across clinics that is allowed: claim strings in [low, high), and nothing else."""
    within = {"$gte": low, "$lt": high}
    return [
        {"$match": {"claims": {"$gte": low, "$elemMatch": within}}},
        {"$unwind": "$claims"},
        {"$match": {"claims": within}},
        {"$group": {"_id": "$claims"}},
    ]
