"""Bookings: Flask and requests. Rooms are reserved at a hotel's API."""
