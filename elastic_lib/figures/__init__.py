"""What results look like; and where a browser lies that takes still pictures of it."""

import shutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def browser() -> str | None:
    """Where the first of them lies, if there is one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)
