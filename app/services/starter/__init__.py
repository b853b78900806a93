"""What a clinic can begin with: common medicines and specializations, added to what it has."""
