"""What is trained on: data sets, their files, networks' heads and metrics; one task a file.

May import `engine`, `kernels` and the modules beside these. Start reading at `cifar10.py`.
"""
