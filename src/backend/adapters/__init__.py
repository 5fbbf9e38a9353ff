"""What speaks to the outside: sources, stores, mail, files. Adapters implement the protocols of `backend.ports`."""
