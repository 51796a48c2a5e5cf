"""What the record says: a value for every cell, its marks, statistics, the audit, the answer.

May import `search.record`. Start reading at `cells.py`.
"""
