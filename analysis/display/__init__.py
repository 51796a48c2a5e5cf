"""How it is shown: words, tables, figures and the page.

May import `findings` and `search.record`. Start reading at `page.py`.
"""
