"""What a study file asks for: its models, its faults, its cells and their budget.

May import `trainables`. Start reading at `study_spec.py`.
"""
