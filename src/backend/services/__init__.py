"""Use cases as coroutines over the protocols of `backend.ports`; no database, queue or web framework in here."""
