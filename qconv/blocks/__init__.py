"""Block types: encode rows of weights into blocks, decode blocks into rows.

One module a block type (``q4_k.py`` holds Q4_K), imported when first used: importing this package costs nothing and
compiles nothing.
"""
