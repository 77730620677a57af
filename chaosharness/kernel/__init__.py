"""Time, order, sites and history. Knows nothing of brokers, Python colours or faults.

Read in this order: `agenda` (what is due), `history` (what happened), `site` (where
trouble may strike), `scope` (on whose behalf code runs), `world` (the loop).
"""
