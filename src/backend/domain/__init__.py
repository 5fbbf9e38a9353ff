"""The rules of hrsync as pure functions and values: no I/O, no clock, no framework, no logging."""
