"""ggml's searches for scales, each over LANES sub-blocks side by side.

One lane is one call of the ggml function that a module names: the same sums in the same order.  Of the arguments they
share, ``x`` is a tile of values, ``w`` one of *error weights*, how much the error of each value counts, and ``quants``
one to work in.
"""
