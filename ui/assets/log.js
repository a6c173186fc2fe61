// A log that keeps to its end, unless somebody scrolled up to read. Written as text, never as markup.

const pane = element.querySelector(".log-pane");
let following = true;

pane.addEventListener("scroll", () => {
  following = pane.scrollTop + pane.clientHeight > pane.scrollHeight - 40;
});

function show() {
  const text = typeof props.value === "string" ? props.value : "";
  const empty = text.trim() === "";
  pane.classList.toggle("empty", empty);
  pane.textContent = empty ? "What the training prints comes here." : text;
  follow();
}

function follow() {
  if (following) pane.scrollTop = pane.scrollHeight;
}

watch("value", show);
new ResizeObserver(follow).observe(pane); // it has no height while its tab is hidden
show();
