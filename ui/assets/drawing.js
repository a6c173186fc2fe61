// A square to draw in. Its value is the drawing as a PNG data address, or null while nothing is drawn.

const canvas = element.querySelector("canvas");
const pen = canvas.getContext("2d");
const THICKNESS = 20; // of 280 pixels: about as thick as the strokes of MNIST
let drawn = false;
let last = null;

function clear() {
  pen.fillStyle = "#fff"; // paper stays white in dark mode, too: the machine reads dark on light or light on dark
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = THICKNESS;
  pen.strokeStyle = "#111";
  drawn = false;
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [
    ((event.clientX - box.left) * canvas.width) / box.width,
    ((event.clientY - box.top) * canvas.height) / box.height,
  ];
}

function stroke(to) {
  pen.beginPath();
  pen.moveTo(...(last || to));
  pen.lineTo(...to);
  pen.stroke();
  last = to;
  drawn = true;
}

function tell() {
  props.value = drawn ? canvas.toDataURL("image/png") : null;
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  canvas.setPointerCapture(event.pointerId);
  last = null;
  stroke(place(event));
});
canvas.addEventListener("pointermove", (event) => {
  if (!canvas.hasPointerCapture(event.pointerId)) return;
  const between = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const step of between.length ? between : [event]) stroke(place(step));
});
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, tell);
}
element.querySelector(".drawing-clear").addEventListener("click", () => {
  clear();
  tell();
});
clear();
