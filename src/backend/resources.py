"""The composition root: builds services' adapters from the settings. Nothing below it knows a setting or a URL."""

from __future__ import annotations
