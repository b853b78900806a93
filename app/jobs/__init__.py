"""What runs without a request: jobs, clinic by clinic, by a schedule or when somebody asks."""
