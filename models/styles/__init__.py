"""One order business in three styles: same participants, workload, claims and faults.

chaosharness compare models.styles.right:choreography models.styles.right:orchestration \
    models.styles.right:hybrid --html styles.html

`business.py` holds what is the same; `right.py` and `broken.py` put it together in each style.
"""
