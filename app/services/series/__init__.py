"""Appointments that come again and again: planned, booked, changed and called off as one."""
