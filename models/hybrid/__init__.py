"""The order flow as a hybrid: the critical path orchestrated, side effects by choreography.

The saga of `models.saga` charges, reserves and books. When it is completed it says so, once
and to everybody; who sends mails, counts points or draws charts listens, and nobody waits
for them.
"""
