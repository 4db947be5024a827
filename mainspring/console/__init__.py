"""The console: one server-rendered page per noun."""
