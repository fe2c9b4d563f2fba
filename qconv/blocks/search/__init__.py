"""ggml's searches for scales, each over LANES sub-blocks side by side.

The sums are ggml's, in its order: one lane is one call of the function a module names.
"""
