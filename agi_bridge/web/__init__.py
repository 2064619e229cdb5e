"""The web side: health, metrics and the reload, over HTTP. It is handed snapshots and one verb, and can disturb no call."""
