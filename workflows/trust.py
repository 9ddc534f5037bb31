"""Trust in exports that were made elsewhere."""

from attnexport.store.trust import trusting

__all__ = ["trusting"]
