"""Names and addresses from which the demo's patients are made. Phone numbers are those kept for fiction."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Region:
    """`phones` are formats for a number from 0 to 99; `places` are (city, state, postal code)."""

    female: tuple[str, ...]
    male: tuple[str, ...]
    family: tuple[str, ...]
    streets: tuple[str, ...]
    places: tuple[tuple[str, str, str], ...]
    country: str
    phones: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


AMERICAN = Region(
    female=_words(
        "Abigail Aisha Alma Beatriz Brianna Camila Chloe Danielle Deborah Elena Emily Fatima Gabriela Grace Harper "
        "Imani Isabel Jasmine Joan Karen Keisha Layla Leah Lucia Mei Monica Naomi Nora Patricia Rachel Rosa Ruth "
        "Samantha Simone Tamara Teresa Valerie Wanda Yuki Zoe"
    ),
    male=_words(
        "Aaron Adrian Ahmed Andre Arthur Benjamin Caleb Carlos Charles Darius David Diego Edward Elijah Ethan Felipe "
        "Franklin George Hassan Henry Isaac Jamal James Javier Kevin Kwame Leon Luis Malik Miguel Nathan Oscar Omar "
        "Patrick Rafael Samuel Theodore Victor Walter Xavier"
    ),
    family=_words(
        "Adams Alvarez Baker Banerjee Brooks Campbell Castillo Chen Cohen Cruz Diaz Edwards Evans Fernandez Fisher "
        "Foster Garcia Goldberg Gray Griffin Gupta Hall Harris Hughes Ibrahim Jackson Jefferson Johnson Kim Kowalski "
        "Lee Lopez Martin Mendoza Miller Morgan Murphy Nguyen O'Brien Okoye Ortiz Park Patel Perez Powell Quinn "
        "Ramirez Reed Rivera Robinson Rossi Russell Sanders Santos Schwartz Singh Sullivan Taylor Thompson Torres "
        "Turner Vargas Walker Washington Williams Wong Wright Young"
    ),
    streets=("Maple Street", "Bedford Avenue", "Delancey Street", "Hillside Road", "Prospect Place", "Union Street"),
    places=(
        ("New York", "NY", "10003"),
        ("New York", "NY", "10025"),
        ("Brooklyn", "NY", "11215"),
        ("Queens", "NY", "11372"),
        ("Jersey City", "NJ", "07302"),
    ),
    country="US",
    phones=("+1 212 555 01{:02}", "+1 718 555 01{:02}", "+1 917 555 01{:02}", "+1 201 555 01{:02}"),
)

GERMAN = Region(
    female=_words(
        "Agnes Alina Amelie Annika Ayşe Barbara Birgit Carla Charlotte Dilara Elif Elisabeth Emma Frieda Gisela Greta "
        "Hannelore Helga Ida Ines Jana Johanna Julia Karolin Lena Lina Luise Magdalena Maren Marlene Nele Olga Paula "
        "Renate Sabine Silke Theresa Ursula Vera Zeynep"
    ),
    male=_words(
        "Anton Bernd Bruno Carsten Christian Can Dieter Dominik Emil Erik Fabian Finn Frank Georg Günther Hannes "
        "Heinrich Holger Jakob Jan Jürgen Kai Karl Konrad Lars Lukas Manfred Mehmet Moritz Nils Oskar Paul Rainer "
        "Sebastian Stefan Thomas Uwe Viktor Wolfgang Yusuf"
    ),
    family=_words(
        "Arslan Bauer Becker Behrens Böhm Brandl Busch Demir Dietrich Ebert Engel Fiedler Fischer Frank Friedrich "
        "Fuchs Graf Groß Haas Hahn Hartmann Heinze Herrmann Hoffmann Horn Jäger Jansen Kaiser Kaya Keller Klein Koch "
        "König Krause Krüger Kuhn Lang Lehmann Lorenz Ludwig Maier Marx Meyer Möller Nowak Otto Peters Pohl Richter "
        "Roth Sauer Schäfer Schmitz Schreiber Schröder Schulz Schwarz Seidel Simon Sommer Stein Thiel Vogel Wagner "
        "Weber Weiß Winter Wolf Yildiz Ziegler"
    ),
    streets=("Lindenallee", "Am Kanal", "Bergstraße", "Gartenweg", "Kastanienweg", "Schillerstraße"),
    places=(
        ("Berlin", "Berlin", "10243"),
        ("Berlin", "Berlin", "10437"),
        ("Berlin", "Berlin", "12049"),
        ("Potsdam", "Brandenburg", "14467"),
    ),
    country="DE",
    phones=("+49 30 23125 1{:02}", "+49 30 23125 2{:02}", "+49 89 99998 3{:02}", "+49 40 66969 4{:02}"),
)
