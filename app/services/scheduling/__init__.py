"""Free slots from working hours, and the claims that keep time from being booked twice."""
