"""Writes `.env.example` from the Settings class: `python -m scripts.export_env_example`."""

from __future__ import annotations

import textwrap

from pydantic.fields import FieldInfo

from app.config import PROJECT_ROOT, Settings

PATH = PROJECT_ROOT / ".env.example"

_HEADER = """\
# Every setting of Polyclinic. Copy this file to .env and fill in what you need; the environment wins over it.
# A line without a value, or behind a #, keeps what stands there. `make run` needs none of them.
"""


def render() -> str:
    """The whole file: each setting in the order of the class, behind a # when it has a default."""
    return "\n".join([_HEADER, *(_entry(name, field) for name, field in Settings.model_fields.items())])


def _entry(name: str, field: FieldInfo) -> str:
    lines = (field.description or "").splitlines()
    comment = "\n".join(textwrap.fill(line, 108, initial_indent="# ", subsequent_indent="# ") for line in lines)
    line = f"{name.upper()}={_default(field)}"
    return f"{comment}\n{line if field.is_required() else f'# {line}'}\n"


def _default(field: FieldInfo) -> str:
    if field.is_required() or field.default_factory is not None or field.default in (None, ()):
        return ""
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


if __name__ == "__main__":
    PATH.write_text(render())
    print(f"Wrote {PATH.name}")
