// What every component reads its value with: values may come from anywhere, so what is odd becomes something harmless.
"use strict";

const isNumber = (x) => typeof x === "number" && Number.isFinite(x);
const clamp = (x, least, most) => Math.min(most, Math.max(least, x));
const list = (x, most = Infinity) => (Array.isArray(x) ? x.slice(0, most) : []);
const object = (x) => (x && typeof x === "object" && !Array.isArray(x) ? x : {});
const text = (x, most = 600) => (typeof x === "string" || isNumber(x) ? String(x).slice(0, most) : "");
