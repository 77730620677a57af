"""Pure machines: exact products, without a world, a fault or a history inside."""
