"""How a clinic writes money, numbers, days and times, by its regional settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from models.money import minor_units
from models.tenant import ClinicSettings, CurrencyPosition, Language, TimeFormat

_MONTHS = {
    Language.EN: "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(),
    Language.ES: "ene feb mar abr may jun jul ago sept oct nov dic".split(),
}
_NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class Formats:
    """Writes values as the clinic does. Amounts always have all digits of their currency, whatever the settings say of
    other numbers, so that no cent is hidden."""

    settings: ClinicSettings

    def money(self, amount: Decimal, currency: str) -> str:
        """An amount with its currency: the clinic's own symbol for its own, the code for any other."""
        places = max(minor_units(currency), -int(amount.normalize().as_tuple().exponent))
        written = self._digits(abs(amount), places)
        own = currency == self.settings.currency and self.settings.currency_symbol
        sign = self.settings.currency_symbol if own else currency
        if self.settings.currency_position is CurrencyPosition.AFTER:
            written = f"{written}{_NO_BREAK}{sign}"
        else:
            written = f"{sign}{'' if own else _NO_BREAK}{written}"
        return f"-{written}" if amount < 0 else written

    def number(self, value: Decimal) -> str:
        """A number with as many digits as it has."""
        plain = value.normalize()
        return ("-" if value < 0 else "") + self._digits(abs(plain), max(0, -int(plain.as_tuple().exponent)))

    def _digits(self, value: Decimal, places: int) -> str:
        style = self.settings.number_format
        whole, _, fraction = f"{value:.{places}f}".partition(".")
        grouped = f"{int(whole):,}".replace(",", style.thousands_separator)
        return f"{grouped}{style.decimal_separator}{fraction}" if fraction else grouped

    def day(self, day: date) -> str:
        """A day in the clinic's own pattern."""
        month = _MONTHS[self.settings.language][day.month - 1]
        patterns = {
            "MM/DD/YYYY": f"{day:%m/%d/%Y}",
            "DD/MM/YYYY": f"{day:%d/%m/%Y}",
            "YYYY-MM-DD": f"{day:%Y-%m-%d}",
            "DD.MM.YYYY": f"{day:%d.%m.%Y}",
            "MMM D, YYYY": f"{month} {day.day}, {day.year}",
            "D MMM YYYY": f"{day.day} {month} {day.year}",
        }
        return patterns[self.settings.date_format]

    def on(self, moment: datetime) -> str:
        """The clinic's day of an instant."""
        return self.day(self._local(moment).date())

    def at(self, moment: datetime) -> str:
        """The clinic's day and time of an instant."""
        local = self._local(moment)
        if self.settings.time_format is TimeFormat.H24:
            return f"{self.day(local.date())} {local:%H:%M}"
        half = "AM" if local.hour < 12 else "PM"
        return f"{self.day(local.date())} {(local.hour + 11) % 12 + 1}:{local.minute:02} {half}"

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(ZoneInfo(self.settings.timezone))
