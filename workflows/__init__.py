"""The application layer: one module a command, each with one typed function of the same name.

The command line parses options, calls one of these functions and prints its result; `import attnexport as ax` offers
the same functions to Python. They join the packages below, which do not know each other.
"""
