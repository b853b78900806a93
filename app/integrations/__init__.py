"""What lies outside: one module per outside system, each behind a small interface of ours."""
