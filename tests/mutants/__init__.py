"""Mutants: small faults in the services, which the unit tests should notice; `make mutants`."""
