"""The gallery's page: its content, the links to its videos, and its template."""
