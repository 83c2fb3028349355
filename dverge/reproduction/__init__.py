"""The report again: its tables, figures and claims beside what is measured here."""
