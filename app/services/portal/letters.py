"""What patients are sent about signing in, in the clinic's language: it names the clinic, nothing of their health."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.services.mailing import Letter, letter
from models.tenant import Language


@dataclass(frozen=True, slots=True)
class _Words:
    """`{clinic}` and `{code}` are filled in."""

    subject: str
    paragraphs: tuple[str, ...]
    sms: str


_MOVED: Mapping[Language, _Words] = {
    Language.EN: _Words(
        "Your contact data was changed",
        (
            "You changed your contact data at {clinic}. Codes to sign in no longer come to this address.",
            "If this was not you, call the clinic at once.",
        ),
        "You changed your contact data at {clinic}: codes to sign in no longer come to this phone. "
        "If this was not you, call the clinic at once.",
    ),
    Language.ES: _Words(
        "Sus datos de contacto han cambiado",
        (
            "Ha cambiado sus datos de contacto en {clinic}. Los códigos de acceso ya no llegan a esta dirección.",
            "Si no ha sido usted, llame a la clínica de inmediato.",
        ),
        "Ha cambiado sus datos de contacto en {clinic}: los códigos de acceso ya no llegan a este teléfono. "
        "Si no ha sido usted, llame a la clínica de inmediato.",
    ),
}
_WORDS: Mapping[Language, _Words] = {
    Language.EN: _Words(
        "Your sign-in code",
        (
            "Your code to sign in at {clinic} is {code}. It holds for 10 minutes.",
            "Nobody at the clinic will ever ask you for it. If you did not ask for a code, ignore this message.",
        ),
        "{code} is your sign-in code at {clinic}. It holds for 10 minutes. Give it to nobody.",
    ),
    Language.ES: _Words(
        "Su código de acceso",
        (
            "Su código para entrar en {clinic} es {code}. Vale durante 10 minutos.",
            "Nadie de la clínica se lo pedirá nunca. Si no ha pedido un código, ignore este mensaje.",
        ),
        "{code} es su código de acceso a {clinic}. Vale durante 10 minutos. No se lo dé a nadie.",
    ),
}


def code_letter(language: Language, *, clinic: str, code: str) -> Letter:
    """The mail with a one-time code."""
    return _letter(_WORDS[language], language, clinic=clinic, code=code)


def code_sms(language: Language, *, clinic: str, code: str) -> str:
    """The text message with a one-time code."""
    return _WORDS[language].sms.format(clinic=clinic, code=code)


def moved_letter(language: Language, *, clinic: str) -> Letter:
    """The mail to an address to which codes no longer go, because the patient changed their contact data."""
    return _letter(_MOVED[language], language, clinic=clinic)


def moved_sms(language: Language, *, clinic: str) -> str:
    """As `moved_letter`, to a phone."""
    return _MOVED[language].sms.format(clinic=clinic)


def _letter(words: _Words, language: Language, **filled: str) -> Letter:
    paragraphs = [one.format(**filled) for one in words.paragraphs]
    return letter(language, words.subject, paragraphs, signed=filled["clinic"])
