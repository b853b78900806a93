"""What the clinic did, in numbers: each figure by one aggregation, on the clinic's own days."""
