"""Databases: SQLite's, SQLAlchemy, aiosqlite, Django's ORM, psycopg, asyncpg, redis-py."""
