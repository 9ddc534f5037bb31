"""Fuzzing of every parser of bytes from outside: each reads them, or refuses them by an error of its own."""
