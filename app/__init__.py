"""Polyclinic: the back end on which many clinics run their day from one installation."""

__version__ = "0.1.0"
