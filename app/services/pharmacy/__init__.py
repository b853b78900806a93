"""The clinic's stock: what is kept, lot by lot, what comes and goes, and what is handed out to patients."""
