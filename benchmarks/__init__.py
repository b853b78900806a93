"""What things cost, measured on a real MongoDB."""
