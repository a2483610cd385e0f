"""The rules: pure functions and frozen dataclasses that know no client and no clock."""
