"""Stand-ins for what surrounds the bridge: Asterisk, the Millis API, and the two ends of a SIP call."""
