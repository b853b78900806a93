"""Files: taken in as they stream, kept encrypted, given out again, and gone when they must."""
