"""What is wrong with a value, said to the person who typed it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

SENTENCES: Mapping[str, str] = {
    "missing": "is required",
    "extra_forbidden": "is not known here",
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "has the wrong form",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "decimal_max_places": "must have at most {decimal_places} decimal places",
    "enum": "must be one of {expected}",
    "literal_error": "must be one of {expected}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
}
"""By pydantic's error type; the braces are filled from the error's own context."""

_DECIMAL = re.compile(r"Decimal\('([^']*)'\)")


def sentence(error: ErrorDetails) -> str:
    """The sentence for one finding, without the value that was given. Our own rules bring theirs."""
    if error["type"] in ("value_error", "assertion_error"):
        return error["msg"].partition(", ")[2] or error["msg"]
    pattern = SENTENCES.get(error["type"])
    if pattern is None:
        return _DECIMAL.sub(r"\1", error["msg"])
    context: dict[str, Any] = error.get("ctx", {})
    one = context.get("min_length") == 1 or context.get("max_length") == 1
    said = pattern.format(**context)
    return said.replace("characters", "character").replace("entries", "entry") if one else said
