"""The tasks: thin bodies that call services. Every module here is found by itself."""
