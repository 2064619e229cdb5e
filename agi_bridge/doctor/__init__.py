"""`agi-bridge doctor`: looks at Millis, the bridge and the PBX, and says what to do. Checks are pure; gatherers fetch facts."""
