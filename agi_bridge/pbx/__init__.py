"""The PBX side: Asterisk's manager interface, over panoramisk. No call waits for it, and none fails with it."""
