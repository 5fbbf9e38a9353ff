"""The revisions of hrsync's own database, applied by `backend.db.migrate`."""
