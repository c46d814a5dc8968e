"""What each kind of output means: how it is read, and what it answers. One module a kind."""
