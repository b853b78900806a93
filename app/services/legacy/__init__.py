"""Documents from before there were clinics: whose they are, and the way to there or into quarantine."""
