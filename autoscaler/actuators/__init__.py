"""What obeys: a declared fleet is brought about, by processes of this host or not at all (advisory)."""
