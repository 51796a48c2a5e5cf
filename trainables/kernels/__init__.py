"""The same layers by fewer or faster kernels; nothing here changes what is computed.

Imports torch, torchvision and Triton alone. Start reading at `small_maps.py`.
"""
