"""A study as it runs: checks before it, Ray, workers, and the writer of its folder.

May import `schedule`, `record`, `spec` and `trainables`. Start reading at `launch.py`.
"""
