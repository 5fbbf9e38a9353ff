"""Attendance: punches, shifts, a policy and calendars in, days that explain themselves out. Pure.

`engine.compute_days` is the way in; the other modules each hold one of the rules it puts together.
"""
