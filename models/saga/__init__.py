"""An order saga by orchestration: one service says what happens next, over RabbitMQ.

Steps: charge the customer, reserve a piece, book the courier. When one is refused, what
came before it is undone, last first.
"""
