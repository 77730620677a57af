"""An order flow by choreography over Kafka: order, payment, inventory, shipping, notification.

    web shop ─checkout→ orders ─orders→ payments ──paid────→ orders ─confirmed→ shipping
                          │      └────→ inventory ─reserved→   │  └───────────→ notification
                          ↑                                    ↓
                          └──────rejected── payments, inventory · shipped── shipping

Payment and stock are asked for at the same time. When both have said yes the order is
confirmed and shipped; when one of them says no it is cancelled, and the other undoes what
it did. `orders` carries both "placed" and "cancelled", keyed by order, so that nobody can
be told to undo what he has not been told to do.

`right` puts it together; `broken` has the twins.
"""
