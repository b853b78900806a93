"""Demo data: two clinics in which everybody is made up. Passwords are known, so never for production."""
