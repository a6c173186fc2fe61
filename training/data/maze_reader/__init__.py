"""Reading mazes from images: any scale, margins, smoothing, colours and thickness of walls."""
