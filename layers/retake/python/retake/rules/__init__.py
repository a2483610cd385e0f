"""Pure rules: no AWS client, no HTTP client, no clock and no randomness of their own."""
