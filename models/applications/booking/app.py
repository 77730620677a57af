"""The application: a booking is stored, and its room is reserved."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from flask import Flask, current_app, g, jsonify, request

from models.applications.booking import hotel

Reserve = Callable[[str, str, int], bool]


def create_app(
    connect: Callable[[], sqlite3.Connection], reserve: Reserve = hotel.reserve
) -> Flask:
    app = Flask("booking")
    app.config.update(CONNECT=connect, RESERVE=reserve)
    app.add_url_rule("/bookings", view_func=create_booking, methods=["POST"])
    return app


def database() -> sqlite3.Connection:
    if "database" not in g:
        g.database = current_app.config["CONNECT"]()
    connection: sqlite3.Connection = g.database
    return connection


def create_booking() -> Any:
    booking = request.get_json()
    db = database()
    with db:
        row = (booking["id"], booking["guest"], booking["nights"], "pending")
        db.execute("INSERT OR IGNORE INTO bookings VALUES (?, ?, ?, ?)", row)
    reserve: Reserve = current_app.config["RESERVE"]
    there = reserve(booking["id"], booking["guest"], booking["nights"])
    status = "confirmed" if there else "declined"
    with db:
        db.execute("UPDATE bookings SET status = ? WHERE id = ?", (status, booking["id"]))
    return jsonify(id=booking["id"], status=status), 201
