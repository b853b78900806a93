"""Polyclinic: the back end on which many clinics run their day from one installation."""

from app.late import left_out

__version__ = "0.1.0"

with left_out("rich"):  # colours for tracebacks that nobody sees: 5 MB
    import structlog

__all__ = ["structlog"]
