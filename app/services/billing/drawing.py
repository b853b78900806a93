"""Draws a paper as PDF. What is imported here is large, so it is loaded when the first paper is asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fpdf import FPDF
from fpdf.enums import TableBordersLayout, TableCellFillMode
from fpdf.fonts import FontFace

from app.services.billing.glyphs import BASE, fonts_for, path_of, writable
from app.services.billing.paper import Paper

for _name in ("fpdf", "fontTools"):  # they would log the letters of a patient's name
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

_GREY = (110, 110, 110)
_LINE = (200, 200, 200)


def draw(paper: Paper) -> bytes:
    """The PDF of a paper."""
    sheet = _Sheet(paper)
    sheet.head()
    if paper.rows:
        sheet.table()
    sheet.sums()
    return sheet.bytes()


class _Sheet:
    def __init__(self, paper: Paper) -> None:
        self._paper, letters = paper, paper.letters()
        pdf = self._pdf = FPDF(format="A4")
        for name in fonts_for(letters):
            pdf.add_font(name, fname=path_of(name))
        self._missing = writable(letters)
        pdf.set_fallback_fonts([name for name in fonts_for(letters) if name != BASE], exact_match=False)
        pdf.set_text_shaping(True)
        pdf.set_lang(paper.language)
        pdf.set_title(paper.number)
        pdf.set_creation_date(paper.dated)
        pdf.set_auto_page_break(True, margin=18)
        pdf.set_margins(18, 18)
        pdf.set_draw_color(_LINE)
        pdf.add_page()

    def bytes(self) -> bytes:
        return bytes(self._pdf.output())

    def _text(self, text: str) -> str:
        return text.translate(self._missing)

    def _lines(self, lines: Sequence[str], size: float, *, grey: bool = False, align: str = "L") -> None:
        self._pdf.set_font(BASE, size=size)
        self._pdf.set_text_color(_GREY if grey else (0, 0, 0))
        for line in lines:
            self._pdf.multi_cell(0, size * 0.5, self._text(line), align=align, new_x="LMARGIN", new_y="NEXT")
        self._pdf.set_text_color(0, 0, 0)

    def head(self) -> None:
        pdf, paper = self._pdf, self._paper
        self._lines(paper.sender[:1], 13)
        self._lines(paper.sender[1:], 9, grey=True)
        pdf.ln(10)
        self._lines(paper.recipient, 11)
        pdf.ln(8)
        self._lines([f"{paper.title} {paper.number}"], 18)
        if paper.stamp is not None:
            self._lines([paper.stamp], 14, grey=True)
        pdf.ln(2)
        for label, value in paper.facts:
            self._pair(label, value, 45, "L")
        pdf.ln(4)

    def _pair(self, label: str, value: str, width: float, align: str) -> None:
        pdf = self._pdf
        pdf.set_font(BASE, size=10)
        pdf.set_text_color(_GREY)
        pdf.cell(width, 6, self._text(label), align=align)
        pdf.set_text_color(0, 0, 0)
        pdf.multi_cell(0, 6, self._text(value), align=align, new_x="LMARGIN", new_y="NEXT")

    def table(self) -> None:
        pdf, columns = self._pdf, self._paper.columns
        pdf.set_font(BASE, size=9)
        with pdf.table(
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            cell_fill_mode=TableCellFillMode.NONE,
            col_widths=[one.width for one in columns],
            headings_style=FontFace(color=_GREY),
            text_align=["RIGHT" if one.numbers else "LEFT" for one in columns],
            line_height=5,
            padding=1,
        ) as table:
            for cells in ([one.heading for one in columns], *self._paper.rows):
                row = table.row()
                for cell in cells:
                    row.cell(self._text(cell))
        pdf.ln(4)

    def sums(self) -> None:
        for label, value in self._paper.sums:
            self._pair(label, value, self._pdf.epw - 40, "R")
