"""The query page: what a browser gets at `GET /graphql` in development."""

from app.http.console.pages import DemoAccount, console_routes

__all__ = ["DemoAccount", "console_routes"]
