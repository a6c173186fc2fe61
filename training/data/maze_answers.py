"""Judge and describe where a predicted route through a maze leads."""

from training.data.maze import Maze


def describe_route(maze: Maze, steps: int, steps_left: int, stopped_by_wall: bool, max_steps: int) -> tuple[str, str]:
    """Return a label and a sentence for a route.

    Args:
        maze: The maze.
        steps: Steps of the route.
        steps_left: Shortest distance from its end to the goal, in steps.
        stopped_by_wall: Whether the next move leads into a wall.
        max_steps: Steps that an answer can have.
    """
    shortest = maze.steps_to_goal[maze.start]
    if steps_left == 0:
        detour = f" (the shortest path has {shortest})" if steps > shortest else ""
        return "reaches the goal", f"Solved: it reaches the goal in {format_steps(steps)}{detour}"
    if stopped_by_wall:
        place = f"{format_steps(steps_left)} short of the goal"
        return "hits a wall", f"Not solved: after {format_steps(steps)} the path hits a wall, {place}"
    if is_on_shortest_route(maze, steps, steps_left, max_steps):
        limit = f"All {format_steps(steps)} of the answer are correct"
        return "on the way", f"{limit}; the goal is {format_steps(steps_left)} further"
    return (
        "stops early",
        f"Not solved: the path stops after {format_steps(steps)}, {format_steps(steps_left)} short of the goal",
    )


def is_on_shortest_route(maze: Maze, steps: int, steps_left: int, max_steps: int) -> bool:
    """Return whether a route has all steps of an answer and is the first part of a shortest one; see `describe_route`."""
    return steps == max_steps and steps + steps_left == maze.steps_to_goal[maze.start]


def format_steps(steps: int) -> str:
    """Format a number of steps, such as "1 step"."""
    return f"{steps} step{'' if steps == 1 else 's'}"
