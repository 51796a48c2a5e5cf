"""Which job next, by which rule, and what a rule would have done: no Ray, no clock.

May import `record`, `spec` and `trainables`. Start reading at `scheduler.py`.
"""
