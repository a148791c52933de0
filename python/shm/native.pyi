implementation: str
missing: str | None
