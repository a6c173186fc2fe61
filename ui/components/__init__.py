"""Gradio components of this project and their formatting."""
