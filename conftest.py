"""Loads the package before pytest collects its files: a module that is collected first would be loaded twice."""

import mainspring as mainspring
