"""The header without which nobody is made to reload: the command sends it, and the web side asks for it."""

# A page in a browser cannot send a header of this name to a server of another origin.
RELOAD_HEADER, RELOAD_WORD = "agi-bridge", "reload"
