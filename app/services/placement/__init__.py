"""Clinics with databases of their own: made, moved, given up."""
