"""Third parties, and calls between services: what a request can meet on its way."""
