"""Operations tables may name.

Each is a frozen recipe: it states its output's shape from its sources' shapes and reads any range of rows of it, from
the source rows it needs.  Each module registers what it defines.
"""
