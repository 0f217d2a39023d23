"""Event cameras: recordings, how files hold them, and the frames that a network sees."""
