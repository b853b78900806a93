"""The queue of the day: who waits for what, who is called next, and how long it takes."""
