"""Servers in Python that Polyclinic is compared with. Both answer what `benchmarks/comparison/workloads.py` asks."""
