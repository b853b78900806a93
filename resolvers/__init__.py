"""What is asked: one file per aggregate, with its types, inputs, queries and mutations."""
