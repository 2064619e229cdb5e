"""The Millis side: what its answers mean (`models`), and the HTTP client that fetches them (`client`)."""
