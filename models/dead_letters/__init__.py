"""Dead letters that somebody puts back days later, on each broker: right, and with one bug."""
