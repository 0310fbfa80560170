"""Which derivatives can be other than zero, and in how few sweeps the others are found."""
