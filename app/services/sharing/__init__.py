"""Patients of several clinics: consents, share codes, what is read across, emergencies, and who changed what."""
