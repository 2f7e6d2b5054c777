"""The desktop app and the command line; never imports torch."""

from app import immortal

if immortal.needed():
    immortal.make_immortal()
