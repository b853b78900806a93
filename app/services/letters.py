"""What the mails about people's own accounts say, in each language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.services.mailing import Letter, letter
from models.tenant import Language


@dataclass(frozen=True, slots=True)
class _Words:
    """`{clinic}`, `{name}` and `{email}` are filled in; `button` is what a link says."""

    subject: str
    paragraphs: tuple[str, ...]
    button: str | None = None


_EN: Mapping[str, _Words] = {
    "invitation": _Words(
        "{clinic} invites you",
        (
            "Hello {name}, {clinic} invites you to work with it in its system. The link holds for 7 days:",
            "If you do not know {clinic}, ignore this message.",
        ),
        "Accept the invitation",
    ),
    "verification": _Words(
        "Confirm your e-mail address",
        (
            "Hello {name}, confirm with this link that this is your e-mail address. It holds for a day:",
            "If you did not ask for this, ignore this message.",
        ),
        "Confirm the address",
    ),
    "email-change": _Words(
        "Confirm your new e-mail address",
        (
            "Hello {name}, with this link {email} becomes the address that you sign in with. It holds for a day:",
            "If you did not ask for this, ignore this message.",
        ),
        "Confirm the new address",
    ),
    "email-changed": _Words(
        "Your e-mail address was changed",
        (
            "Hello {name}, the e-mail address of your account was changed; this one no longer signs you in.",
            "If this was not you, tell {clinic} at once.",
        ),
    ),
    "password-reset": _Words(
        "Choose a new password",
        (
            "Hello {name}, choose a new password with this link. It holds for 30 minutes:",
            "If you did not ask for this, ignore this message: your password stays as it is.",
        ),
        "Choose a new password",
    ),
    "password-changed": _Words(
        "Your password was changed",
        (
            "Hello {name}, the password of your account was changed and every session was ended.",
            "If this was not you, tell {clinic} at once.",
        ),
    ),
}
_ES: Mapping[str, _Words] = {
    "invitation": _Words(
        "Invitación de {clinic}",
        (
            "Hola, {name}: {clinic} le invita a trabajar en su sistema. El enlace vale durante 7 días:",
            "Si no conoce {clinic}, ignore este mensaje.",
        ),
        "Aceptar la invitación",
    ),
    "verification": _Words(
        "Confirme su correo electrónico",
        (
            "Hola, {name}: confirme con este enlace que este es su correo electrónico. Vale durante un día:",
            "Si no lo ha pedido, ignore este mensaje.",
        ),
        "Confirmar el correo",
    ),
    "email-change": _Words(
        "Confirme su nuevo correo electrónico",
        (
            "Hola, {name}: con este enlace {email} será el correo con el que inicia sesión. Vale durante un día:",
            "Si no lo ha pedido, ignore este mensaje.",
        ),
        "Confirmar el nuevo correo",
    ),
    "email-changed": _Words(
        "Su correo electrónico ha cambiado",
        (
            "Hola, {name}: el correo de su cuenta ha cambiado; con este ya no puede iniciar sesión.",
            "Si no ha sido usted, avise a {clinic} de inmediato.",
        ),
    ),
    "password-reset": _Words(
        "Elija una nueva contraseña",
        (
            "Hola, {name}: elija una nueva contraseña con este enlace. Vale durante 30 minutos:",
            "Si no lo ha pedido, ignore este mensaje: su contraseña no cambia.",
        ),
        "Elegir una nueva contraseña",
    ),
    "password-changed": _Words(
        "Su contraseña ha cambiado",
        (
            "Hola, {name}: la contraseña de su cuenta ha cambiado y se han cerrado todas las sesiones.",
            "Si no ha sido usted, avise a {clinic} de inmediato.",
        ),
    ),
}
WORDS: Mapping[Language, Mapping[str, _Words]] = {Language.EN: _EN, Language.ES: _ES}


def letter_of(
    kind: str, language: Language, *, clinic: str, name: str, email: str = "", url: str | None = None
) -> Letter:
    """The letter of a kind. `url` is its link, for the kinds that have one."""
    words = WORDS[language][kind]
    filled = {"clinic": clinic, "name": name, "email": email}
    link = (words.button, url) if words.button and url else None
    paragraphs = [one.format(**filled) for one in words.paragraphs]
    return letter(language, words.subject.format(**filled), paragraphs, link=link, signed=clinic)
