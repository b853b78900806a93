"""The data that the comparison runs on: clinics with patients and appointments, built once and kept."""
