"""Databases: engines and sessions, column types, tables and migrations. No queries: those are in the repositories."""
