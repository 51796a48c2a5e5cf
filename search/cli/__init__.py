"""`resnet-search`: what a person types and sees. May import every other package of `search`.

Start reading at `main.py`. Modules that take seconds to load are imported where they are used.
"""
