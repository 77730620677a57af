"""What an orchestrator asks of its store under load, and what an outage of the store does.

Formulas with their sources (`costs`), and a queue in virtual time beside them (`queueing`). Times
are inputs: nothing here measures or predicts a product's speed.
"""
