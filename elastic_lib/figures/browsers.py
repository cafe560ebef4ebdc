"""The browsers that take still pictures of figures."""

import shutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def browser() -> str | None:
    """Where the first of them lies, if there is one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)
