"""Clinics' own subscriptions to the system: what they have, what they pay, and what they may do by it."""
