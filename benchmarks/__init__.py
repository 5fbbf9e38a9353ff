"""Measurements of hrsync against peers and limits; run them with scripts/bench."""
