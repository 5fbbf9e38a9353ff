"""What the HTTP API answers: health, JSON, and who may ask."""
