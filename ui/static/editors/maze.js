/** Editor: a maze. Its value is a picture of one pixel a tile, as a data address. */

import { createButton, createElement, hasModifier } from "../common/dom.js";
import { formatCount } from "../common/format.js";
import { clamp, readInteger } from "../common/validate.js";
import { createBar, createNote, getArrowDirection, getRelativePosition } from "./editor.js";
import {
  buildRoom,
  countSteps,
  decodePixels,
  encodePixels,
  getTile,
  isSupportedSize,
  listTilesBetween,
  MAX_SIDE,
  MIN_SIDE,
  placeTile,
  removeInnerWalls,
  TILE_COLOURS,
  toRowAndColumn,
} from "./maze-grid.js";

const CANVAS_SIDE = 720; // pixels
const TOOLS = { start: "Start", goal: "Goal", wall: "Wall", path: "Path" };
const CURSOR_COLOUR = "#e69f00";
const PICTURE = /^data:image\/png;base64,/;

class MazeEditor {
  #onChange;
  #maze;
  #tool = "goal";
  #dragged = null; // what the pointer that is down draws or drags
  #hasChanged = false; // whether it has changed anything
  #last = null; // the tile where the pointer was, or where the arrow keys are
  #loads = 0; // pictures that were loaded: an earlier one that arrives late is dropped
  #canvas;
  #tools;
  #note = createNote();
  #position = createElement("p", { class: "editor-unseen", role: "status" });

  constructor(root, spec, onChange) {
    this.#onChange = onChange;
    this.#maze = buildRoom(readInteger(spec.side, MIN_SIDE, MAX_SIDE));
    this.#canvas = createElement("canvas", {
      class: "editor-maze",
      width: CANVAS_SIDE,
      height: CANVAS_SIDE,
      tabindex: 0,
      role: "application",
      "aria-label": "Maze: arrow keys move the cursor, Space uses the selected tool",
    });
    this.#tools = Object.entries(TOOLS).map(([tool, label]) => {
      return createButton(label, () => this.#pick(tool), { class: `editor-tool editor-tool-${tool}` });
    });
    const group = { class: "editor-tools", role: "group", "aria-label": "Tool of a click or Space" };
    const clear = createButton("Clear", () => this.#clear(), { title: "Remove all inner walls" });
    root.append(
      this.#canvas,
      createElement("div", group, ...this.#tools),
      createBar(clear, this.#note),
      this.#position,
    );
    this.#listen();
    this.#pick(this.#tool);
    this.#draw();
  }

  async show(value) {
    this.#loads += 1;
    const load = this.#loads;
    if (!PICTURE.test(value)) return;
    const maze = await loadMaze(value);
    if (!maze || load !== this.#loads) return;
    this.#maze = maze;
    this.#last = null;
    this.#dragged = null;
    this.#draw();
  }

  #listen() {
    const canvas = this.#canvas;
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => {
      if (this.#dragged) this.#dragTo(this.#findTile(event));
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => this.#release());
    canvas.addEventListener("keydown", (event) => this.#pressKey(event));
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => this.#draw());
  }

  #pick(tool) {
    this.#tool = tool;
    for (const [index, name] of Object.keys(TOOLS).entries()) {
      this.#tools[index].setAttribute("aria-pressed", name === tool);
    }
  }

  #clear() {
    this.#maze = removeInnerWalls(this.#maze);
    this.#draw();
    this.#write();
  }

  // --- pointers and keys ---

  #findTile(event) {
    const [top, left] = getRelativePosition(this.#canvas, event);
    const { rows, columns } = this.#maze;
    return clamp(Math.floor(top * rows), 0, rows - 1) * columns + clamp(Math.floor(left * columns), 0, columns - 1);
  }

  #press(event) {
    if (event.button !== 0) return;
    this.#canvas.setPointerCapture(event.pointerId);
    const pressed = this.#findTile(event);
    const tile = getTile(this.#maze, pressed);
    this.#dragged = tile === "start" || tile === "goal" ? tile : this.#tool;
    this.#last = null;
    this.#hasChanged = false;
    this.#dragTo(pressed);
  }

  /** Walls and paths are drawn all the way from the last tile, because fast pointers skip tiles. */
  #dragTo(to) {
    const isLine = this.#dragged === "wall" || this.#dragged === "path";
    const tiles = isLine ? listTilesBetween(this.#maze, this.#last ?? to, to) : [to];
    const before = this.#maze;
    for (const tile of tiles) this.#maze = placeTile(this.#maze, this.#dragged, tile);
    this.#last = to;
    if (this.#maze === before) return;
    this.#hasChanged = true;
    this.#draw();
  }

  #release() {
    this.#dragged = null;
    if (this.#hasChanged) this.#write();
    this.#hasChanged = false;
  }

  #pressKey(event) {
    const direction = getArrowDirection(event);
    if (!(direction || event.key === " " || event.key === "Enter") || hasModifier(event)) return;
    event.preventDefault();
    const { rows, columns } = this.#maze;
    const [row, column] = toRowAndColumn(this.#maze, this.#last ?? this.#maze.start);
    const [down, right] = direction ?? [0, 0];
    const place = [clamp(row + down, 0, rows - 1), clamp(column + right, 0, columns - 1)];
    this.#last = place[0] * columns + place[1];
    const before = this.#maze;
    if (!direction) this.#maze = placeTile(this.#maze, this.#tool, this.#last);
    this.#draw();
    const tile = getTile(this.#maze, this.#last);
    this.#position.textContent = `Row ${place[0] + 1}, column ${place[1] + 1}: ${tile}`;
    if (this.#maze !== before) this.#write();
  }

  // --- drawing ---

  #draw() {
    const { rows, columns, start, goal, open } = this.#maze;
    const cell = Math.max(2, Math.floor(CANVAS_SIDE / Math.max(rows, columns)));
    const canvas = this.#canvas;
    const size = [cell * columns, cell * rows];
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    const context = canvas.getContext("2d");
    const toCorner = (tile) => {
      const [row, column] = toRowAndColumn(this.#maze, tile);
      return [column * cell, row * cell];
    };
    for (const tile of open.keys()) {
      context.fillStyle = `rgb(${TILE_COLOURS[getTile(this.#maze, tile)].join(" ")})`;
      context.fillRect(...toCorner(tile), cell, cell);
    }
    drawLetter(context, "S", toCorner(start), cell, "#fff");
    drawLetter(context, "G", toCorner(goal), cell, "#000");
    if (this.#last !== null && canvas.matches(":focus-visible")) drawCursor(context, toCorner(this.#last), cell);
    this.#note.textContent = describeMaze(this.#maze);
  }

  #write() {
    const { rows, columns } = this.#maze;
    const { canvas, context } = createPaper(rows, columns);
    context.putImageData(new ImageData(encodePixels(this.#maze), columns, rows), 0, 0);
    this.#onChange(canvas.toDataURL("image/png"));
  }
}

function describeMaze(maze) {
  if (maze.missing) return `The picture shows no ${maze.missing.join(" and no ")}. Drag S and G to where they belong.`;
  const steps = countSteps(maze);
  if (steps === null) return "The goal cannot be reached. Remove a wall.";
  return `Shortest path: ${formatCount(steps, "step")}. Drag S or G to move them; choose Wall or Path to draw.`;
}

/** Draw a letter besides the colour, for visitors who cannot distinguish red from green. */
function drawLetter(context, letter, [left, top], cell, colour) {
  context.fillStyle = colour;
  context.font = `700 ${0.7 * cell}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(letter, left + cell / 2, top + 0.54 * cell);
}

function drawCursor(context, corner, cell) {
  const width = Math.max(2, cell / 8);
  context.strokeStyle = CURSOR_COLOUR;
  context.lineWidth = width;
  context.strokeRect(corner[0] + width / 2, corner[1] + width / 2, cell - width, cell - width);
}

function createPaper(rows, columns) {
  const canvas = createElement("canvas", { width: columns, height: rows });
  return { canvas, context: canvas.getContext("2d") };
}

/** Load the maze of a picture; null if it shows none. */
async function loadMaze(url) {
  const picture = new Image();
  picture.src = url;
  try {
    await picture.decode();
  } catch {
    return null; // a broken picture
  }
  const { naturalHeight: rows, naturalWidth: columns } = picture;
  if (!isSupportedSize(rows, columns)) return null;
  const { context } = createPaper(rows, columns);
  context.drawImage(picture, 0, 0);
  return decodePixels(context.getImageData(0, 0, columns, rows).data, rows, columns);
}

/** @type {import("./editor.js").CreateEditor} */
export const createMazeEditor = (root, spec, onChange) => new MazeEditor(root, spec, onChange);
