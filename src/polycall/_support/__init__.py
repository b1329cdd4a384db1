"""Helpers without a subject of their own: JSON text, sockets, SQLite's log, sync over async."""
