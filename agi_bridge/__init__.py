"""Answers FastAGI calls from Asterisk and sends each one to its Millis voice agent.

The story of a call is `bridge.py`; what is built, and in which order, is `app.py`. Nothing is re-exported here:
the public interface is the command, the configuration keys, the channel variables and the metric names, not
Python names. The version below is the only place that states it.
"""

__version__ = "0.1.0"
