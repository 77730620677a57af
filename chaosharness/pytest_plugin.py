"""The pytest plugin: options in, reports out. Loads nothing heavy until an option asks for it."""

from __future__ import annotations
