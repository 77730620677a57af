"""Systems on Redis Streams: right ones, and twins with one bug each."""
