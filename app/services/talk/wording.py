"""What letters, text messages and pushed messages say: what kind of thing happened at which clinic, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.notification import NotificationKind
from models.tenant import Language

_K = NotificationKind
_TEXTS: Mapping[Language, Mapping[NotificationKind, tuple[str, str]]] = {
    Language.EN: {
        _K.MESSAGE: ("A new message", "There is a new message for you at {clinic}."),
        _K.PATIENT_MESSAGE: ("A message from a patient", "A patient has written to {clinic}."),
        _K.TICKET_ASSIGNED: ("A ticket for you", "A ticket was given to you at {clinic}."),
        _K.TICKET_COMMENT: ("Something new on a ticket", "Somebody has written on a ticket of yours at {clinic}."),
        _K.STOCK_LOW: ("Something runs low", "Something in the stock of {clinic} is below its reorder level."),
        _K.APPOINTMENT_TOMORROW: ("Your appointment", "You have an appointment at {clinic} on {when}."),
    },
    Language.ES: {
        _K.MESSAGE: ("Un mensaje nuevo", "Hay un mensaje nuevo para usted en {clinic}."),
        _K.PATIENT_MESSAGE: ("Un mensaje de un paciente", "Un paciente ha escrito a {clinic}."),
        _K.TICKET_ASSIGNED: ("Una solicitud para usted", "Se le ha asignado una solicitud en {clinic}."),
        _K.TICKET_COMMENT: ("Novedades en una solicitud", "Alguien ha escrito en una solicitud suya en {clinic}."),
        _K.STOCK_LOW: ("Existencias bajas", "Algo de las existencias de {clinic} está por debajo de su mínimo."),
        _K.APPOINTMENT_TOMORROW: ("Su cita", "Tiene una cita en {clinic} el {when}."),
    },
}


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of one thing, in the clinic's language."""

    language: Language
    subject: str
    text: str


def told_as(language: Language, kind: NotificationKind, clinic: str, when: str = "") -> Said:
    """The words for a kind of notification."""
    subject, text = _TEXTS[language][kind]
    return Said(language, subject, text.format(clinic=clinic, when=when))
