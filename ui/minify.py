"""Remove comments from JavaScript modules, so that visitors load less.

Comments are a third of the modules. Only comments on lines of their own are removed, which needs no parser of JavaScript: the
modules are formatted by biome. A minifier that renames variables would save another fifth and need an unpinned tool.
"""


def strip_comments(source: str) -> str:
    """Return a module without the comments that have lines of their own. The number of lines stays.

    Lines inside a template literal stay as they are.

    Args:
        source: Code, formatted by biome.
    """
    lines = []
    is_comment = is_template = False
    for line in source.split("\n"):
        text = line.strip()
        starts_comment = not is_template and text.startswith("/*") and ("*/" not in text or text.endswith("*/"))
        if is_comment or starts_comment:
            is_comment = not text.endswith("*/")
            line = ""
        elif not is_template and text.startswith("//"):
            line = ""
        elif (text.count("`") - text.count("\\`")) % 2:
            is_template = not is_template
        lines.append(line)
    return "\n".join(lines)
