"""One short module per library that `setup()` can wire; each is imported only when its library is to be wired."""
