"""The HTTP API, the dashboard, and the SQL of the scheduler tables."""
