"""HTTP server of the app. Importing this package must stay fast: app.py serves a startup page first."""
