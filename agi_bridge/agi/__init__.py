"""The AGI side: bytes to events (`protocol`), one conversation (`session`), many of them (`server`)."""
