"""The scheduler process: it leads or stands by, fires jobs into the ledger, sends what is due, rescues what is lost.

APScheduler is spoken only in `timer`; Celery and SQL are not spoken here at all.
"""
