"""The desktop app and the command line. Nothing here imports torch."""
