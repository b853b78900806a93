"""Two files of one patient made one, and taken apart again; what led to the former file leads on to the other."""
