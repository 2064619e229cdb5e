"""The records of calls: how they are joined, spooled, kept in a database, read again and forgotten in time."""
