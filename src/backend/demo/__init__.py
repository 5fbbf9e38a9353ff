"""A fictional company to try hrsync on."""
