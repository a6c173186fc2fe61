// --- panel: neurons --------------------------------------------------------------------------------------------------

panels.set("activity", {
  of: () => thought.activity,
  dress: dressActivity,
  draw: drawActivity,
  says: ({ neurons }) => `Activity of ${count(neurons, "neuron")} over ${count(thought.ticks, "tick")}`,
});

function readActivity(said, ticks) {
  const neurons = whole(said.neurons, 0, 100000);
  const values = neurons ? bytes(said.data, ticks * neurons) : null;
  return values && { neurons, of: whole(said.of, neurons, 1e9), values };
}

function dressActivity({ neurons, of }) {
  parts["activity-title"].textContent = of > neurons ? `${neurons} of ${of} neurons shown` : count(neurons, "neuron");
  legend("activity", [[band(look.sign), "activity from \u22121 through 0 to +1", "band"]]);
}

function drawActivity() {
  const { neurons, values } = thought.activity, canvas = parts.activity, high = clamp(neurons * 2, 60, 256);
  const pen = penFor(canvas, high + 22), width = Math.min(canvas.clientWidth - 4, thought.ticks * 80);
  const heat = image("activity", thought.ticks, neurons, (column, row) => look.sign[values[column * neurons + row]]);
  pen.imageSmoothingEnabled = neurons > high; // more rows than pixels: blend them rather than drop some
  drawByTick(pen, heat, { left: 2, top: 2, width, height: high });
  const step = width / thought.ticks, middle = clamp(2 + step * (tick - 0.5), 22, Math.max(22, width - 20));
  write(pen, `tick ${tick}`, middle, high + 13, { align: "center", size: 11, colour: look.faint });
}
