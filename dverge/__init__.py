"""DVERGE: ensembles with diversified vulnerabilities, their training, attacks and measurement."""
