"""The user's code, run in its own colour, and the ports at which it stops."""
