"""hrsync: keeps a company's HR data moving."""

__version__ = "0.1.0"
